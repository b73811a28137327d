"""The tasks: one file each. A task knows its data, its model and its measure, and nothing of optimizers."""

from .fashion_mnist import FASHION_MNIST, FASHION_MNIST_MINI
from .task import Task

TASKS: dict[str, Task] = {task.name: task for task in (FASHION_MNIST, FASHION_MNIST_MINI)}

__all__ = ["TASKS", "Task"]
