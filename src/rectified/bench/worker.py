"""The client of a measuring process."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Worker:
    """A :mod:`rectified.bench.serve` process in the environment of an interpreter.

    Args:
        python: the interpreter; it needs torch, and imports this copy of rectified.
        settings: device, threads, model.
        paths: additional folders to import modules from.
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
        """Send a request and return the answer; a process that ended is restarted.

        Raises:
            RuntimeError: there is no answer; the message says why.
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
