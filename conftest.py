"""Settings of frameworks that tests and doctests of the sources share, made before one is imported."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
# Keras writes its settings there, by default into the user's home.
os.environ.setdefault("KERAS_HOME", str(Path(tempfile.gettempdir()) / "rectified-keras"))
