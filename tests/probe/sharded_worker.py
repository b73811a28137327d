"""What each rank does in test_sharded.py: a Probe on a model under FSDP2 or DDP against one on the whole model.

torchrun --nproc-per-node 2 sharded_worker.py fsdp hsdp ddp
"""

import os
import sys
from dataclasses import asdict

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import rectified
from rectified import Probe
from rectified.warmup import Linear

OPTIMIZERS = {
    "torch AdamW": lambda params: torch.optim.AdamW(params, lr=0.02, weight_decay=0.1),
    "rectified Adam": lambda params: rectified.Adam(params, lr=0.02, warmup=Linear(5)),
}
BATCH, STEPS, CLIP = 8, 14, 0.1


def model():
    torch.manual_seed(0)
    # 9, 3 and 1 rows: shards of unequal size, and one rank without any of the last bias.
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3), nn.Tanh(), nn.Linear(3, 1))


def parallel(kind):
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model())
    net, ranks = model(), dist.get_world_size()
    shape = {"fsdp": (ranks,), "hsdp": (1, ranks)}[kind]
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")[-len(shape) :])
    for layer in (net[0], net[2]):
        fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def train(net, optimizer, probe=None, rank=0, ranks=1, given=False):
    mine = slice(rank * BATCH // ranks, (rank + 1) * BATCH // ranks)

    def shared(loss):
        """The mean over the ranks."""
        loss = loss.detach().clone()
        if ranks > 1:
            dist.all_reduce(loss)
        return loss / ranks

    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        x, y = torch.randn(BATCH, 6, generator=generator), torch.randn(BATCH, 1, generator=generator)
        loss = (net(x[mine]) - y[mine]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        assert norm > CLIP
        optimizer.step()
        if probe is not None:
            again = lambda x=x, y=y: shared((net(x[mine]) - y[mine]).square().mean())  # noqa: E731
            probe.observe(shared(loss), again=again, grad_norm=norm if given else None)


def check(ours, expected):
    """The same observations: of the model, of each group and of each tensor."""
    assert [o.step for o in ours] == [o.step for o in expected]
    for o, e in zip(ours, expected, strict=True):
        same(o.model, e.model)
        same(o.groups[0], e.groups[0])
        assert list(o.tensors) == list(e.tensors)
        for name in e.tensors:
            # The last bias has one element, so that its spread and its angle are 0 but for the round-off of float32.
            same(o.tensors[name], e.tensors[name], atol=1e-3)


def same(ours, expected, atol=1e-6):
    found, wanted = (torch.tensor(list(asdict(s).values()), dtype=torch.float64) for s in (ours, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=atol, equal_nan=True)


def main(kinds):
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for name, method in OPTIMIZERS.items():
        whole = model()
        optimizer = method(whole.parameters())
        expected = Probe(optimizer)
        train(whole, optimizer, expected)
        assert len(expected.history) >= 8
        for kind in kinds:
            watched = parallel(kind)
            optimizer = method(watched.parameters())
            probe = Probe(optimizer)
            train(watched, optimizer, probe, rank, ranks, given=kind == "fsdp")
            check(probe.history, expected.history)

            plain = parallel(kind)
            train(plain, method(plain.parameters()), None, rank, ranks)
            for p, q in zip(watched.parameters(), plain.parameters(), strict=True):
                assert torch.equal(*(x if kind == "ddp" else x.to_local() for x in (p, q)))
            if rank == 0:
                print(f"{kind} {name}: right", flush=True)
    dist.barrier()
    # Not by way of torch's destructors: DDP's joins, under Python's lock, a thread of gloo's that waits for that lock.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
