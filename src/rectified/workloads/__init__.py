"""Workloads: tasks, the models that they train, and the data that they read. They know no optimizer and no study."""
