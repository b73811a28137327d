"""Random damage to a study's folder, and every command after each: nothing raises, and nothing whole is lost.

    python tests/study/damage.py [--damages 500] [--seed 0]

A third of the damages are to a finished study, a third to one that was interrupted, a third to one that is packed.
After each come `status`, `report`, `export` and the study's own call, in this process. Counted is what they did.
"""

import argparse
import gzip
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from mini_runs import DATA
from rich.console import Console

from rectified import cli
from rectified.study import Study
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import ANY, Limits
from rectified.study.executors import LocalExecutor
from rectified.study.executors.executor import Attempts, Event
from rectified.study.runner import run_study
from rectified.study.storage.archive import NAME as ARCHIVE
from rectified.study.storage.packing import pack
from rectified.study.storage.store import Store

STUDY = Study("fashion-mnist-mini", ["adam", "radam"], 0.01, [0, 1], epochs=1, batch_sizes=1000)
COMMAND = "rectified study fashion-mnist-mini --methods adam,radam --lrs 0.01 --seeds 0,1 --epochs 1"
FILES = ("study.json", "results.csv", "timings.csv", "report.html", ".lock")
RUN_FILES = ("done.json", "rows.jsonl", "config.json", "steps.csv", "checkpoint.pt", ".lock", "events")


@dataclass(frozen=True)
class Here(LocalExecutor):
    """Runs in this process, since no process is what is tested."""

    def run(self, runs, store, data, limits=ANY):
        attempts = Attempts(store)
        for run in runs:
            try:
                attempt = attempts.begin(run.key)
                for progress in execute(run, DATA_IN_MEMORY, store.folder(run.key), attempt, limits):
                    yield Event(progress.kind, run.key, progress.row, progress.text)
            except Exception as error:
                yield attempts.fail(run.key, f"{type(error).__name__}: {error}", "machine")


MINI = STUDY.tasks[0]
DATA_IN_MEMORY = MINI.load(DATA[MINI.name])


def call(out, limits=ANY):
    """The study's own call; its exit status and what it printed."""
    said = io.StringIO()
    with (  # whose own command is called, too
        mock.patch("rectified.study.runner.write_figures", lambda results, folder: folder / "figures"),
        mock.patch("rectified.study.runner.write_report", lambda results, folder: folder / "report.html"),
    ):
        try:
            status = run_study(STUDY, out, Here(1), COMMAND, Console(file=said, width=200), limits)
        except (ValueError, OSError) as error:  # which the command line prints in a line
            said.write(str(error))
            status = 2
    return status, said.getvalue()


def commanded(*arguments):
    """A command's exit status and what it printed; whatever it raises comes through."""
    said = io.StringIO()
    with (
        redirect_stdout(said),
        redirect_stderr(said),
        mock.patch("rectified.cli.folder.write_figures", lambda results, folder: folder / "figures"),
    ):
        status = cli.main(list(map(str, arguments)))
    return status, said.getvalue()


def begun(out, finished):
    """A study that is done, or that was interrupted in its first run, which has a checkpoint."""
    if finished:
        assert call(out)[0] == 0
        return out
    first = STUDY.runs()[0]
    status, _ = call(out, Limits(minutes=1e-9))
    assert status == 1
    folder = next(out.glob("runs/*seed0*"))
    events = execute(first, DATA_IN_MEMORY, folder, limits=Limits(checkpoint_every=0.0))
    next(events)
    events.close()
    for done in out.glob("runs/*/done.json"):
        done.unlink()
    return out


def archived(finished, out):
    """A finished study whose runs are packed."""
    shutil.copytree(finished, out)
    pack(Store.open(out), remove_folders=True)
    (out / "runs").mkdir(exist_ok=True)
    return out


def flip(rng, content):
    i = rng.randrange(len(content) or 1)
    return content[:i] + bytes([rng.randrange(256)]) + content[i + 1 :]


def flip_digit(rng, content):
    places = [i for i, x in enumerate(content) if chr(x).isdigit()]
    if not places:
        return b"7"
    i = rng.choice(places)
    return content[:i] + str((content[i] - 48 + rng.randrange(1, 10)) % 10).encode() + content[i + 1 :]


CONTENTS = {
    "flipped": flip,
    "flipped digit": flip_digit,
    "cut off": lambda rng, content: content[: rng.randrange(len(content) or 1)],
    "grown": lambda rng, content: content + bytes(rng.randrange(256) for _ in range(40)),
    "empty": lambda rng, content: b"",
    "zeros": lambda rng, content: bytes(len(content)),
    "null": lambda rng, content: b"null",
    "a number": lambda rng, content: b"5\n",
    "a list": lambda rng, content: b'[{"epoch": 1}]',
    "deep": lambda rng, content: b"[" * 100_000,
    "a large number": lambda rng, content: content.replace(b"1", b"1" + b"0" * 400, 1),
    "not a number": lambda rng, content: content.replace(b"0.", b"NaN, 0.", 1),
    "a newer version": lambda rng, content: (
        content.replace(b'"format": 2', b'"format": 3').replace(b'"format": 1', b'"format": 2').replace(b"done", b"won")
    ),
    "words": lambda rng, content: content.replace(b": 1", b': "one"'),
}
_LONGEST = 120  # seconds for a trial, which takes two: a pipe could be waited for without end

OTHERS = ("gone", "a folder", "a link", "a pipe", "a link to nowhere")


def damage(rng, out, outside):
    """Damage one file of the study; says which, and how."""
    runs = sorted(path for path in out.glob("runs/*") if path.is_dir())
    in_runs = [(rng.choice(runs), rng.choice(RUN_FILES)) if runs else (out, ARCHIVE)] * 4
    folder, name = rng.choice([(out, rng.choice(FILES)), *in_runs])
    path = next(iter(sorted(folder.glob("events*"))), folder / "events") if name == "events" else folder / name
    how = rng.choice([*CONTENTS, *OTHERS])
    content = path.read_bytes() if path.is_file() else b""
    path.unlink(missing_ok=True)
    if how in CONTENTS:
        if name == ARCHIVE and rng.randrange(2):  # what is in it, by somebody who packs it again
            lines = gzip.decompress(content).splitlines(keepends=True)
            i = rng.randrange(len(lines))
            path.write_bytes(gzip.compress(b"".join([*lines[:i], CONTENTS[how](rng, lines[i]), *lines[i + 1 :]])))
        else:
            path.write_bytes(CONTENTS[how](rng, content))
    elif how == "a folder":
        path.mkdir()
        (path / "mine.txt").write_text("mine")
    elif how == "a link":
        (outside / "theirs").write_bytes(content)
        path.symlink_to(outside / "theirs")
    elif how == "a link to nowhere":
        path.symlink_to(outside / "new")
    elif how == "a pipe":
        os.mkfifo(path)
    return name if folder == out else f"a run's {name}", how, path


def whole(folder):
    """What is in a folder, by path."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def trial(rng, original, reference, place):
    """One damage and every command after it.

    Returns:
        What was damaged, how, and what came of it: ``"whole"`` where the study's call ended with the results of one
        that was never damaged, ``"refused"`` where it said in a line why it could not, ``"failed"`` where runs are
        named that could not be run, ``"noted"`` where a changed study.json is said to be one.
    """
    out, outside = place / "out", place / "outside"
    outside.mkdir()
    (outside / "notes.txt").write_text("notes")
    shutil.copytree(original, out, symlinks=True)
    (out / "runs" / "mine.txt").write_text("mine")
    name, how, path = damage(rng, out, outside)
    before, links = whole(outside), {p: p.readlink() for p in out.rglob("*") if p.is_symlink()}
    told = ""
    for command in ("status", "report", "export"):
        status, said = commanded(command, out)
        told += said
        assert status in (0, 1, 2), (name, how, command, said)
        assert status != 2 or len(said.strip().splitlines()) <= 2, (name, how, command, said)
    status, said = call(out)
    assert whole(outside) == before, (name, how, links)
    assert (out / "runs" / "mine.txt").read_text() == "mine"
    assert not path.is_dir() or (path / "mine.txt").read_text() == "mine"
    if status == 2:
        if name == "study.json" or (name == ARCHIVE and how == "a newer version"):  # the way out that it names
            path.rename(outside / "moved") if not path.is_dir() else path.rename(outside / "folder")
            status, said = call(out)
            assert status == 0, (name, how, said)
        else:
            return name, how, "refused"
    if status == 1:
        assert "failed: " in said or "lost: " in said, (name, how, said)
        return name, how, "failed"
    assert status == 0, (name, how, status, said)
    if (out / "results.csv").read_bytes() != reference:
        # A changed digit may make a run of study.json another one, which then waits to be run.
        assert name == "study.json", (name, how, said)
        assert "study.json is damaged or was changed by hand" in told, (name, how, told)
        return name, how, "noted"
    return name, how, "whole"


def _too_long(*_):
    raise AssertionError("a command waits")


def trials(count, seed, place, broken=()):
    """That many trials; a count by what was damaged and what came of it.

    Args:
        broken: errors that are counted as ``"broken"``, and do not end the trials.
    """
    rng, found = random.Random(seed), Counter()
    originals = [begun(place / "finished", True), begun(place / "interrupted", False)]
    originals.append(archived(originals[0], place / "packed"))
    reference = (originals[0] / "results.csv").read_bytes()
    signal.signal(signal.SIGALRM, _too_long)
    for i in range(count):
        here = place / str(i)
        here.mkdir()
        signal.alarm(_LONGEST)
        try:
            name, how, end = trial(rng, originals[i % len(originals)], reference, here)
        except broken as error:
            name, how, end = type(error).__name__, "", "broken"
        finally:
            signal.alarm(0)
        found[name, how if end != "whole" else "", end] += 1
        shutil.rmtree(here)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damages", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = trials(given.damages, given.seed, Path(place), broken=Exception)
    print(json.dumps({" / ".join(filter(None, key)): count for key, count in sorted(found.items())}, indent=1))
    ends = Counter()
    for (*_, end), n in found.items():
        ends[end] += n
    print(f"{sum(found.values())} damages: {dict(ends)}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
