"""A process that measures entries on one model in one environment: JSON lines in, JSON lines out.

Each model has its own process, since it would otherwise inherit the previous model's allocator state. So does each
environment, since some peers cannot be installed together.
"""

import json
import os
import sys
import warnings
from typing import Any

import torch

from .entries import BASE, BY_NAME, ENTRIES, missing, version
from .measure import Arena
from .models import MODELS


def entries(device: str) -> dict[str, Any]:
    """Why each entry cannot be measured, or None if it can; and the package versions of those that can."""
    absent = {entry.name: missing(entry, device) for entry in ENTRIES}
    packages = {entry.package for entry in ENTRIES if absent[entry.name] is None}
    return {"absent": absent, "versions": {name: version(name) for name in sorted({*packages, "torch"})}}


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output that a peer prints must not mix with answers
    warnings.simplefilter("ignore")
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    arena: Arena | None = None
    for line in sys.stdin:
        request = json.loads(line)
        wanted = request.pop("what")
        try:
            if wanted == "entries":
                answer: Any = entries(settings["device"])
            else:
                arena = arena or Arena(MODELS[settings["model"]](), settings["device"])
                entry = BY_NAME[request.pop("entry", BASE.name)]
                if wanted == "block":
                    answer = arena.block(entry, **request)
                elif wanted == "memory":
                    answer = arena.memory(entry)
                else:
                    answer = arena.bandwidth()
        except Exception as error:  # a failing entry must not end the comparison of the others
            print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        else:
            print(json.dumps({"answer": answer}), file=answers, flush=True)


if __name__ == "__main__":
    main()
