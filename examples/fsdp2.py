"""FSDP2: each process keeps and steps its own part of every weight. The warmup is the same in all of them.

torchrun --nproc-per-node 2 examples/fsdp2.py
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

import rectified
from rectified.warmup import Linear

dist.init_process_group("gloo")  # on GPUs: "nccl", and a "cuda" mesh
rank, ranks = dist.get_rank(), dist.get_world_size()
mesh = init_device_mesh("cpu", (ranks,))

torch.manual_seed(0)  # the same weights everywhere, before they are sharded
model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
for layer in (model[0], model[2]):
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)

# After fully_shard, so that the optimizer sees the shards.
optimizer = rectified.AdamW(model.parameters(), lr=1e-2, warmup=Linear(20))

data = torch.Generator().manual_seed(1 + rank)  # each process sees data of its own
for step in range(1, 101):
    x = torch.randn(32, 16, generator=data)
    loss = F.mse_loss(model(x), x.square().mean(dim=1, keepdim=True))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step in (1, 10, 20, 100):
        dist.all_reduce(loss := loss.detach() / ranks)  # summed over processes: the mean
        if rank == 0:
            omega = rectified.explain(optimizer)[0].omega
            print(f"step {step:3}  loss {loss.item():.3f}  next omega {omega:.2f}", flush=True)

weight = model[0].weight
moment = optimizer.state[weight]["exp_avg_sq"].to_local()
print(f"rank {rank}: {tuple(moment.shape)} of the {tuple(weight.shape)} second moments", flush=True)
dist.destroy_process_group()
