"""What the processes of test_sync_batch_norm.py run: small nets, five steps of SGD on each rank's part of a batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipelines.sync_batch_norm import convert

STEPS = 5
RATE = 0.05


class Frozen(nn.Module):
    """A frozen batch norm as detection backbones have it: four buffers and no count."""

    eps = 1e-5

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features
        self.register_buffer("weight", torch.rand(features) + 0.5)
        self.register_buffer("bias", torch.randn(features))
        self.register_buffer("running_mean", torch.randn(features))
        self.register_buffer("running_var", torch.rand(features) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Flat(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def net(kind: str) -> nn.Module:
    torch.manual_seed(7)
    if kind == "plain":
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.BatchNorm2d(6, eps=1e-3),
            nn.ReLU(), Flat(), nn.Linear(6, 5), nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 4),
        )  # fmt: skip
    return nn.Sequential(nn.Conv2d(3, 8, 3), Frozen(8), nn.ReLU(), Flat(), nn.Linear(8, 4))


def batch(step: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    some = torch.Generator().manual_seed(step)
    # Far from 0, where sums of squares would cancel.
    return torch.randn(size, 3, 9, 9, generator=some) * 2 + 30, torch.randint(4, (size,), generator=some)


def parts(size: int, world: int, *, uneven: bool) -> list[slice]:
    ends = [size * (rank + 1) ** 2 // world**2 if uneven else size * (rank + 1) // world for rank in range(world)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def train(model: nn.Module, mine: slice, size: int, world: int) -> dict[str, object]:
    """Losses, the last gradients and the state after some steps; the loss is a sum over the whole batch's count."""
    losses, optimizer = [], torch.optim.SGD(model.parameters(), RATE)
    for step in range(STEPS):
        x, y = batch(step, size)
        loss = nn.functional.cross_entropy(model(x[mine]), y[mine], reduction="sum") / size
        optimizer.zero_grad()
        (loss * world).backward()
        optimizer.step()
        losses.append(loss.item())
    names = {name.removeprefix("module."): one for name, one in model.named_parameters()}
    state = {name.removeprefix("module."): one.clone() for name, one in model.state_dict().items()}
    return {"losses": losses, "gradients": {name: one.grad.clone() for name, one in names.items()}, "state": state}


def shared(rank: int, kind: str, world: int, size: int, uneven: bool, synchronised: bool) -> dict[str, object]:
    """One rank's part of a training."""
    model = net(kind)
    if synchronised:
        model = convert(model)
    return train(DistributedDataParallel(model.train()), parts(size, world, uneven=uneven)[rank], size, world)


def in_a_group(rank: int, size: int) -> dict[str, object] | None:
    """The same for the last two of three ranks, in a group of their own."""
    group = dist.new_group([1, 2])
    if rank == 0:
        return None
    model = DistributedDataParallel(convert(net("plain"), group).train(), process_group=group)
    return train(model, parts(size, 2, uneven=True)[rank - 1], size, 2)


def alone(kind: str, size: int) -> dict[str, object]:
    """The same in one process with the whole batch and torch's own batch norm; frozen norms made plain ones."""
    model = net(kind).train()
    for at, one in enumerate(model):
        if isinstance(one, Frozen):
            norm = nn.BatchNorm2d(one.num_features, eps=one.eps)
            norm.load_state_dict({**one.state_dict(), "num_batches_tracked": torch.tensor(0)})
            model[at] = norm
    return train(model, slice(None), size, 1)
