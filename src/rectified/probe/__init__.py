"""Is my warmup configured right (check), what does my run show (Probe), what would help (trial)?"""

from .check import check
from .finding import Finding
from .probe_verdict import Verdict
from .signals import Observation, Signals, StepSums
from .trial import TrialProgress, TrialRun, trial, watch
from .trial_result import Arm, Difference, TrialResult
from .watch import Probe

__all__ = [
    "Arm",
    "Difference",
    "Finding",
    "Observation",
    "Probe",
    "Signals",
    "StepSums",
    "TrialProgress",
    "TrialResult",
    "TrialRun",
    "Verdict",
    "check",
    "trial",
    "watch",
]
