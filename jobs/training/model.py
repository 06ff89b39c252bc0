"""The model that is trained: which parameters, at which rate, with which norms, on one device or sharded over all."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import nn

from jobs.training.settings import Train
from pipelines import Task
from pipelines.sync_batch_norm import convert, has_batch_norm
from stages.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD = "head"
"""The pattern that stands for all parameters outside of the pretrained body."""


class Group(TypedDict):
    """Parameters that are trained alike, as torch's optimizers take them."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def load(task: Task, settings: Train, device: torch.device) -> PreTrainedModel:
    """The task's processor and model, ready to be trained in one process."""
    task.load_processor()
    task.load_model(device, torch.float32)
    model = task.model
    if settings.batch_norm == "synchronised" and has_batch_norm(model):
        convert(model)
    for name, parameter in model.named_parameters():
        if any(fits(pattern, name, model) for pattern in settings.frozen):
            parameter.requires_grad_(False)
    return model


def check(model: PreTrainedModel, settings: Train) -> None:
    """Raises UsageError for a pattern that fits no parameter, where none is left to train, or where the model cannot
    do what is asked."""
    names = [name for name, _ in model.named_parameters()]
    for key, patterns in (("rates", list(settings.rates)), ("frozen", settings.frozen)):
        for pattern in patterns:
            if not any(fits(pattern, name, model) for name in names):
                raise UsageError(f"train.{key}: {pattern!r} fits no parameter; there are {', '.join(names[:3])}, …")
    if all(any(fits(pattern, name, model) for pattern in settings.frozen) for name in names):
        raise UsageError("train.frozen leaves no parameter to train")
    if settings.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise UsageError(f"train.gradient_checkpointing: {type(model).__name__} cannot do that")


def fits(pattern: str, name: str, model: PreTrainedModel) -> bool:
    """Whether a parameter is one of those that a pattern means."""
    if pattern == HEAD:
        return not name.startswith(f"{model.base_model_prefix}.") and model.base_model is not model
    return re.search(pattern, name) is not None


def groups(model: PreTrainedModel, settings: Train, decayed: Collection[str]) -> list[Group]:
    """The trained parameters by learning rate and weight decay; ``decayed`` names those that have the latter.

    Single numbers are groups of their own: ``shard`` leaves them whole, and one kernel takes no mixture.
    """
    found: dict[tuple[float, bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found[factor(name, model, settings.rates), name in decayed, not parameter.ndim].append(parameter)
    told_first = sorted(found.items(), key=lambda one: (one[0][0] != 1, one[0]))  # the curve has the first one's rate
    return [
        {"params": some, "lr": settings.learning_rate * by, "weight_decay": settings.weight_decay if decays else 0.0}
        for (by, decays, _), some in told_first
    ]


def factor(name: str, model: PreTrainedModel, rates: Mapping[str, float]) -> float:
    """The learning rate of a parameter, as a factor: that of the last pattern which fits it."""
    return next((by for pattern, by in reversed(list(rates.items())) if fits(pattern, name, model)), 1.0)


def shard(model: PreTrainedModel, device: torch.device) -> None:
    """Shards the model over all ranks, layer by layer (FSDP2). Collective."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    # A single number cannot be sharded; the Trainer averages the gradients of what is not.
    numbers = {one for one in model.parameters() if not one.ndim}
    for layer in layers(model):
        fully_shard(layer, mesh=mesh, ignored_params=numbers)
    fully_shard(model, mesh=mesh, ignored_params=numbers)
    # The Trainer then leaves placement and the gradients' reduction to the model.
    model._is_distributed_loading_by_transformers = True


def layers(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost repeated parts with weights: what stands in a ModuleList, such as an encoder's layers."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (one for one in child if any(True for _ in one.parameters()))
        else:
            yield from layers(child)
