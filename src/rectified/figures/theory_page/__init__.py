"""`rectified theory`: figures, tables and one page about the variance of the adaptive learning rate."""
