"""Optimizers of other libraries, which an environment need not hold: a test that makes one is skipped without it."""

from functools import partial

import pytest


def peer(name):
    """The optimizer of this name, such as "pytorch_optimizer.Lion"; its library is imported when one is made."""
    return partial(_make, *name.split("."))


def _make(library, kind, *args, **options):
    return getattr(pytest.importorskip(library), kind)(*args, **options)
