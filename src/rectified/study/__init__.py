"""Studies that compare optimizers, warmups and learning rates on a real task, over seeds.

>>> from rectified.study import Study
>>> study = Study("fashion-mnist-mini", methods=["adam", "radam"], lrs=[0.01], seeds=[0, 1, 2])
>>> results = study.run("runs/mini")  # doctest: +SKIP
>>> print(results.verdict)  # doctest: +SKIP
"""

from ..workloads.tasks import BaseTask, Task
from .analysis.results import StudyResults
from .config.errors import InvalidOption
from .config.method import Method
from .config.study import Study
from .storage.store import NotAStudyError

__all__ = ["BaseTask", "InvalidOption", "Method", "NotAStudyError", "Study", "StudyResults", "Task"]
