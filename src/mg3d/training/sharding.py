"""FSDP2: every process holds a piece of each parameter, its gradient and its optimiser state.

Files know nothing of it: `whole` puts pieces together before they are written, `laid_out_as` cuts
them after they were read, so a run goes on under another strategy or number of processes.
The invariant: `whole`, `laid_out_as` and `unsharded` are collective for sharded tensors, so every
process calls them in the same order.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mg3d.distributed import copy_from_first
from mg3d.model.vlm import VisionLanguageModel
from mg3d.training.task import TrainingTask


def shard_(task: TrainingTask, mesh: DeviceMesh) -> TrainingTask:
    """Cut the parameters of a task into pieces, in place, and gather them when they are needed.

    The blocks of the image encoder are gathered one at a time. All else is gathered for the whole
    of a step: heads and fusion are read from several places, and the text encoder runs a number of
    times that depends on the reports of each process, while gathering must happen equally often.

    Args:
        task: On the device where it is trained; the weights of the first process count.
        mesh: Of Fabric's strategy.
    """
    copy_from_first(task)
    pieces = mesh["data_parallel"]
    for block in _blocks(task.model.image_encoder):
        fully_shard(block, mesh=pieces)
    fully_shard(task, mesh=pieces)
    return task


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The innermost elements of lists of modules: what an encoder repeats."""
    for part in module.modules():
        if isinstance(part, nn.ModuleList):
            yield from (item for item in part if not _has_list(item))


def _has_list(module: nn.Module) -> bool:
    return any(isinstance(part, nn.ModuleList) for part in module.modules())


def whole(tensor: Tensor) -> Tensor:
    """The full tensor that ``tensor`` is a piece of; itself where nothing is sharded."""
    if isinstance(tensor, DTensor):
        full: Tensor = tensor.full_tensor()
        return full
    return tensor


def laid_out_as(tensor: Tensor, reference: Tensor) -> Tensor:
    """This process's piece of a full ``tensor``, cut as ``reference`` is."""
    if isinstance(reference, DTensor):
        full = tensor.to(reference.device)
        return distribute_tensor(full, reference.device_mesh, reference.placements)
    return tensor


@torch.no_grad()
def unsharded(model: VisionLanguageModel) -> VisionLanguageModel:
    """A model with full weights: ``model`` itself, or a copy on the CPU where it is sharded."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    weights = {name: whole(tensor).cpu() for name, tensor in model.state_dict().items()}
    architecture = replace(model.config, text=replace(model.config.text, pretrained=False))
    copy = VisionLanguageModel(architecture)
    copy.load_state_dict(weights)
    copy.config = model.config
    return copy
