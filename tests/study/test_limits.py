"""How long a run may take and when its checkpoints are due."""

import math
import re

import pytest

from rectified.study.config.errors import InvalidOption
from rectified.study.execution import limits as limits_module
from rectified.study.execution.limits import Limits, RunClock


def alone(ask):
    return ask


@pytest.fixture
def time(monkeypatch):
    """The system's clock, set by hand."""

    class Time:
        now = 1000.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(limits_module, "time", faked := Time())
    return faked


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"checkpoint_every": -1.0}, "checkpoint_every is -1.0: it must be a number of seconds, 0 or more"),
        ({"checkpoint_every": math.inf}, "checkpoint_every is inf: it must be a number of seconds, 0 or more"),
        ({"checkpoint_every": math.nan}, "checkpoint_every is nan: it must be a number of seconds, 0 or more"),
        ({"minutes": 0}, "run_minutes is 0: it must be a positive number"),
        ({"minutes": -2.5}, "run_minutes is -2.5: it must be a positive number"),
        ({"minutes": math.inf}, "run_minutes is inf: it must be a positive number"),
        ({"minutes": math.nan}, "run_minutes is nan: it must be a positive number"),
        ({"gradients": -1}, "gradients is -1: it must be 0 or a number of steps"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(option, says):
    with pytest.raises(InvalidOption, match=f"^{re.escape(says)}$"):
        Limits(**option)


def test_a_checkpoint_is_due_after_half_a_minute_or_more_where_it_is_slow_to_write(time):
    clock = RunClock(Limits(), 0.0, alone)
    time.now += 29.9
    assert not clock.checkpoint_is_due()
    time.now += 0.1
    assert clock.checkpoint_is_due()
    clock.wrote_checkpoint(seconds=0.1)
    assert not clock.checkpoint_is_due()
    time.now += 29.9
    assert not clock.checkpoint_is_due()
    time.now += 0.1
    assert clock.checkpoint_is_due()
    clock.wrote_checkpoint(seconds=3.0)  # a hundredth of 300
    time.now += 299.9
    assert not clock.checkpoint_is_due()
    time.now += 0.1
    assert clock.checkpoint_is_due()


def test_a_checkpoint_is_due_as_often_as_was_asked_however_slow(time):
    clock = RunClock(Limits(checkpoint_every=5.0), 0.0, alone)
    time.now += 4.9
    assert not clock.checkpoint_is_due()
    time.now += 0.1
    assert clock.checkpoint_is_due()
    clock.wrote_checkpoint(seconds=60.0)
    time.now += 4.9
    assert not clock.checkpoint_is_due()
    time.now += 0.1
    assert clock.checkpoint_is_due()
    assert RunClock(Limits(checkpoint_every=0.0), 0.0, alone).checkpoint_is_due(), "after every step"


def test_a_runs_time_is_that_of_all_calls(time):
    clock = RunClock(Limits(minutes=2.0), 50.0, alone)
    assert clock.seconds == 50.0
    time.now += 70.0
    assert clock.seconds == 120.0
    assert not clock.is_over()
    time.now += 0.1
    assert clock.is_over()
    unlimited = RunClock(Limits(), 1e9, alone)
    assert not unlimited.is_over()


def test_both_questions_are_answered_as_the_runs_processes_agree(time):
    """Several ranks answer as the first of them did, whatever their own clocks say."""
    asked = []

    def agreed(ask):
        asked.append(ask)
        return lambda: "as agreed"

    clock = RunClock(Limits(minutes=1.0), 61.0, agreed)
    assert clock.is_over() == clock.checkpoint_is_due() == "as agreed"
    assert [ask() for ask in asked] == [True, False]
