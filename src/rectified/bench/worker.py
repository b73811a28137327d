"""The caller's end of a process that measures."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Worker:
    """A process of :mod:`rectified.bench.serve` in some interpreter's environment.

    Args:
        python: the interpreter; it needs torch, and finds rectified here.
        settings: device, threads, model.
        paths: further folders in which it finds modules.
    """

    def __init__(self, python: str, settings: dict[str, Any], paths: Sequence[str] = ()) -> None:
        source = str(Path(__file__).parents[2])
        self._command = [python, "-m", "rectified.bench.serve", json.dumps(settings)]
        path = os.pathsep.join(filter(None, [source, *paths, os.environ.get("PYTHONPATH", "")]))
        self._environment = {**os.environ, "PYTHONPATH": path}
        self._begin()

    def _begin(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )

    def ask(self, what: str, **request: Any) -> Any:
        """The answer. A process that ends instead is begun anew.

        Raises:
            RuntimeError: there is no answer; says why.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"what": what, **request}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            self._log.seek(0)
            last = self._log.read().decode(errors="replace").strip().splitlines()
            self.end()
            self._begin()
            raise RuntimeError(f"its process ended with status {status}" + (f": {last[-1]}" if last else ""))
        reply = json.loads(line)
        if "failed" in reply:
            raise RuntimeError(reply["failed"])
        return reply["answer"]

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()
