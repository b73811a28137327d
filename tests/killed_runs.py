"""Runs that are killed after every checkpoint that they write, to see that they end as if nothing had been."""

from rectified.study.execution import checkpoint, execute


class Killed(BaseException):
    """What no code catches, as it could not catch a signal."""


def killed_after_every_checkpoint(monkeypatch, run_once):
    """Call that again and again, each time killed as soon as it has written a checkpoint; how often it was."""
    write, killed = checkpoint.write_checkpoint, 0

    def write_and_die(folder, state):
        write(folder, state)
        raise Killed

    monkeypatch.setattr(execute, "write_checkpoint", write_and_die)
    while True:
        try:
            run_once()
        except Killed:
            killed += 1
            assert killed < 100, "it gets nowhere"
        else:
            return killed
