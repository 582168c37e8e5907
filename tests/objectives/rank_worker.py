"""What each process of the many-process test does: its rows of every split, every objective."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from objective_cases import MIXED, Case, apply, build_case, leaves, own, select
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from mg3d.distributed import world_size
from mg3d.objectives.registry import OBJECTIVES

SILENT = (own(0, 0, 0), own(1, 0, 0))
# name -> (studies, rows of each rank). Rows 5 of MIXED and both of SILENT have no report.
SPLITS = {
    "equal": (MIXED, ([0, 1, 2, 3], [4, 5, 6, 7])),
    "unequal": (MIXED, ([6], [0, 1, 2, 3, 4, 5, 7])),
    "a rank without reports": (MIXED, ([5], [7, 6, 4, 3, 2, 1, 0])),
    "a rank without studies": (MIXED, ([0, 1, 2, 3, 4, 5, 6, 7], [])),
    "no reports": (SILENT, ([0], [1])),
    "four": (MIXED, ([0, 3], [1, 4], [2, 5], [6, 7])),
    "four unequal": (MIXED, ([2], [7, 6, 0, 1], [5], [4, 3])),
}


def splits_of(world: int) -> list[str]:
    """The splits made for this number of processes."""
    return [split for split, (_, rows) in SPLITS.items() if len(rows) == world]


def case_of(split: str, rank: int | None) -> Case:
    """The rows of one rank, or those of all ranks in their order."""
    studies, rows = SPLITS[split]
    picked = [row for part in rows for row in part] if rank is None else rows[rank]
    return select(build_case(studies), picked)


def measure(name: str, case: Case) -> dict[str, torch.Tensor]:
    """Loss, metrics and gradients of one objective."""
    output = apply(name, case)
    inputs = leaves(name, case)
    gradients = torch.autograd.grad(output.loss, list(inputs.values()))
    return {
        "loss": output.loss.detach(),
        **{f"metric.{key}": value for key, value in output.metrics.items()},
        **{f"grad.{key}": value for key, value in zip(inputs, gradients, strict=True)},
    }


class Heads(torch.nn.Module):
    """A projection a view, then two objectives that gather: what a wrapped task does, in small."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.clause = (
            torch.nn.Linear(5, 4, dtype=torch.float64) for _ in range(3)
        )
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, generator=generator)

    def forward(self, case: Case) -> torch.Tensor:
        views = replace(
            case.views,
            image_embedding=F.normalize(self.image(case.views.image_embedding), dim=1),
            text_embedding=F.normalize(self.text(case.views.text_embedding), dim=1),
            clause_visual=self.clause(case.views.clause_visual),
        )
        seen = replace(case, views=views)
        return sum(apply(name, seen).loss for name in ("plain_alignment", "sentence_similarity"))


def parameter_gradients(case: Case, *, wrapped: bool) -> dict[str, torch.Tensor]:
    """Gradients of `Heads`; wrapped in DDP, the share is multiplied by the number of ranks."""
    heads = Heads()
    task = DistributedDataParallel(heads) if wrapped else heads  # averages while it lives
    (task(case) * world_size()).backward()
    return {name: parameter.grad for name, parameter in heads.named_parameters()}


def work(rank: int, folder: str) -> None:
    """Join a group of two, then one of four, and store what this rank measures in each."""
    torch.set_num_threads(1)
    for world in (2, 4):
        if rank < world:
            _work_in_group_of(world, rank, Path(folder))


def _work_in_group_of(world: int, rank: int, folder: Path) -> None:
    meeting = f"file://{folder}/rendezvous{world}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    measured = {
        f"{split}/{name}/{key}": value.contiguous()
        for split in splits_of(world)
        for name in OBJECTIVES
        for key, value in measure(name, case_of(split, rank)).items()
    }
    measured |= {
        f"{split}/heads/{key}": gradient
        for split in splits_of(world)
        for key, gradient in parameter_gradients(case_of(split, rank), wrapped=True).items()
    }
    save_file(measured, folder / f"rank{rank}of{world}.safetensors")
    dist.destroy_process_group()
