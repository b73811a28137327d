"""Provenance: when, where and with which versions a run was computed."""

import platform
import socket
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ... import __version__


def provenance() -> dict[str, Any]:
    """When, where and on what hardware a run ended, for done.json."""
    return {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "versions": versions(),
    }


@cache
def versions(device: str = "cpu") -> dict[str, str]:
    """What a run is computed with: package versions, the device unless it is a CPU, and this source tree's commit."""
    found = {"rectified": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    if torch.device(device).type == "cuda":
        found["device"] = torch.cuda.get_device_name(device)
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, capture_output=True, timeout=10)
        commit = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=12"],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return found
    return {**found, "commit": commit.stdout.strip()}
