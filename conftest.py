"""Settings of frameworks that tests and doctests of the sources share, made before one is imported."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault(
    "KERAS_HOME", str(Path(tempfile.gettempdir()) / "rectified-keras")
)  # it writes its settings there
