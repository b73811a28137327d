"""What each rank does in test_dtensor.py: FSDP2 and DDP training against one process, and checkpoints across both.

torchrun --nproc-per-node N fsdp_worker.py {train,tensor-parallel,others,ddp,save,load} FOLDER
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import rectified
from rectified.optim import contrib
from rectified.optim.states import eight_bit
from rectified.optim.step.kernels import fused
from rectified.warmup import GuardedLinear, Rectified, UntunedLinear
from trajectories import FusedCalls

METHODS = {
    "radam": lambda params: rectified.RAdam(params, lr=0.01),
    "radam-hold": lambda params: rectified.RAdam(params, lr=0.01, start="hold", weight_decay=0.1),
    "adamw": lambda params: rectified.AdamW(params, lr=0.01, warmup=UntunedLinear(), amsgrad=True),
    "guarded": lambda params: rectified.AdamW(params, lr=0.3, warmup=GuardedLinear(5)),
    "capturable": lambda params: rectified.RAdam(params, lr=0.01, capturable=True),
    "8bit": lambda params: rectified.AdamW(params, lr=0.01, state_dtype="8bit"),
}
# Of the others some need a whole tensor's norm, or the whole model's.
OTHERS = {
    "rmsprop": lambda params: rectified.RMSprop(params, lr=0.01, momentum=0.9, warmup=Rectified()),
    "nadam": lambda params: rectified.NAdam(params, lr=0.01),
    "adadelta": lambda params: rectified.Adadelta(params),
    "lamb": lambda params: rectified.LAMB(params, lr=0.01, weight_decay=0.1),
    "gi-adam": lambda params: contrib.GIAdam(params, lr=0.01),
    "stable-adamw": lambda params: contrib.StableAdamW(params, lr=0.01),
    "sgd-hd": lambda params: contrib.SGDHD(params, lr=0.01, hyper_lr=0.01, momentum=0.9),
    "adam-hd": lambda params: contrib.AdamHD(params, lr=0.01, hyper_lr=1e-4),
    "cocob": lambda params: contrib.COCOB(params),
    "yellowfin": lambda params: contrib.YellowFin(params, first_lr=0.01, beta=0.9, clip=True),
    "guarded": lambda params: rectified.rectify(torch.optim.AdamW(params, lr=0.3), GuardedLinear(5)),
    "wrapped": lambda params: rectified.rectify(torch.optim.NAdam(params, lr=0.01)),
}
STEPS, HALF = 14, 8
CLOSE = {"8bit": {"rtol": 0, "atol": 4e-3}}  # v is rounded by the place in the shard; all move by 0.1


def model(width=9):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))  # 9 and 3 rows: shards of unequal size


def sharded():
    net = model()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (net[0], net[2]):
        fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def tensor_parallel():
    """Both layers in halves over one dimension of the mesh, and these sharded over the other."""
    net = model(8)  # which tensor parallelism can halve
    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("data", "tensor"))
    parallelize_module(net, mesh["tensor"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    return fully_shard(net, mesh=mesh["data"])


def train(net, optimizer, steps, rank=0, ranks=1):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 6, generator=generator), torch.randn(8, 3, generator=generator)
        mine = slice(rank * 8 // ranks, (rank + 1) * 8 // ranks)
        optimizer.zero_grad()
        (net(x[mine]) - y[mine]).square().mean().backward()
        optimizer.step()


def check(net, straight, name):
    for p, q in zip(net.parameters(), straight.parameters(), strict=True):
        p = p.full_tensor() if isinstance(p, DTensor) else p
        torch.testing.assert_close(p.detach(), q.detach(), **CLOSE.get(name, {"rtol": 1e-5, "atol": 1e-6}))


MODELS = {"tensor-parallel": tensor_parallel}


def main(what, folder):
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for name, method in (OTHERS if what == "others" else METHODS).items():
        straight = model(8 if what == "tensor-parallel" else 9)
        optimizer = method(straight.parameters())
        net = nn.parallel.DistributedDataParallel(model()) if what == "ddp" else MODELS.get(what, sharded)()
        ours = method(net.parameters())
        if what == "load":
            state = dict(zip(("model", "optimizer"), get_state_dict(net, ours), strict=True))
            dcp.load(state, checkpoint_id=folder / name)
            set_state_dict(net, ours, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
            train(straight, optimizer, range(STEPS))
            train(net, ours, range(HALF, STEPS), rank, ranks)
            check(net, straight, name)
            assert all(float(entry["step"]) == STEPS for entry in ours.state.values())
        elif what == "save":
            train(net, ours, range(HALF), rank, ranks)
            state = dict(zip(("model", "optimizer"), get_state_dict(net, ours), strict=True))
            dcp.save(state, checkpoint_id=folder / name)
        elif what == "ddp":
            train(straight, optimizer, range(STEPS))
            train(net, ours, range(STEPS), rank, ranks)
            check(net, straight, name)
        elif what in ("others", "tensor-parallel"):
            train(straight, optimizer, range(STEPS))
            here = (rank, ranks) if what == "others" else (rank // 2, ranks // 2)
            train(net, ours, range(STEPS), *here)
            check(net, straight, name)
        else:
            train(straight, optimizer, range(STEPS))
            with FusedCalls() as calls:
                train(net, ours, range(STEPS), rank, ranks)
            check(net, straight, name)
            assert all(
                isinstance(x, DTensor) for entry in ours.state.values() for key, x in entry.items() if key != "step"
            )
            assert name in ("capturable", "8bit") or all(
                b.kernel is fused for plan in ours._plans for b in plan.buckets
            )
            assert calls.count >= STEPS - 1
        if rank == 0:
            print(f"{what} {name}: right", flush=True)
    dist.barrier()
    # Not by way of torch's destructors: DDP's joins, under Python's lock, a thread of gloo's that waits for that lock.
    os._exit(0)


if __name__ == "__main__":
    eight_bit.LEAST = 4  # so that the matrices of this model are coded
    main(sys.argv[1], Path(sys.argv[2]))
