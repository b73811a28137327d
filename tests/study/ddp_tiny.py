"""What test_ddp.py has the launcher and the ranks run instead of ddp_worker: the same, watched and hurt.

HURT is a rank, a step, and what befalls it then: "1 9 kill".
"""

import os
import signal
import sys

import torch

from rectified.study.execution.training import Training
from rectified.study.executors import ddp_worker as rank

begin, take, trained, begun = Training.begin, Training.take, rank._trained, []


def watched_begin(*args):
    begun.append(begin(*args))
    return begun[-1]


def hurt_take(self, batch):
    whom, when, what = os.environ.get("HURT", "9 9 nothing").split()
    if (self.ranks.rank, self.step) == (int(whom), int(when)):
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError("of rank " + whom)
    return take(self, batch)


def watched_trained(job, which, tell):
    found = trained(job, which, tell)
    if found[0] == "done":
        folder = job.parcel.folder
        torch.save(begun[-1].state(), folder.with_name(f"{folder.name}-{which}.pt"))
    return found


if __name__ == "__main__":
    Training.begin, Training.take, rank._trained = watched_begin, hurt_take, watched_trained
    if sys.argv[1] == "launch":
        rank.launch(sys.argv[2], program=[__file__])
    else:
        rank.train(sys.argv[2])
