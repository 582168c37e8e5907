"""What each process of the gathering test does."""

from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from mg3d import distributed
from mg3d.errors import OtherProcessError, StorageError

# A rank's rows have the value of `content`; rank 1 has more rows and a longer second axis.
SHAPES = {"equal": ((2, 3), (2, 3)), "unequal": ((1, 3), (4, 3)), "ragged": ((2, 2, 2), (3, 4, 2)),
          "empty": ((0, 3), (2, 3)), "nobody": ((0, 3), (0, 3))}  # fmt: skip


def content(shape: tuple[int, ...], rank: int) -> Tensor:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def loss(rows: Tensor, rank: int) -> Tensor:
    """Not symmetric in the rows and another one on each rank, so that no mix-up cancels."""
    weights = torch.arange(1, rows.numel() + 1, dtype=rows.dtype).reshape(rows.shape)
    return ((rank + 1) * weights * rows**2).sum()


def outcome(*, fails: bool) -> int:
    """0 a block that succeeds, 1 one's own error, 2 another's; a rank that hangs gives none."""
    try:
        with distributed.succeed_together(torch.device("cpu")):
            if fails:
                raise StorageError("full")
    except StorageError:
        return 1
    except OtherProcessError:
        return 2
    return 0


def work(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
    )
    measured = {"rank": torch.tensor([distributed.rank(), distributed.world_size()])}
    for name, shapes in SHAPES.items():
        own = content(shapes[rank], rank).requires_grad_()
        rows = distributed.all_gather_rows(own)
        loss(rows, rank).backward()
        first = distributed.first_row(len(own), own.device)
        measured |= {f"{name}.rows": rows.detach().clone(), f"{name}.grad": own.grad}
        measured[f"{name}.first"] = torch.tensor(first)
        measured[f"{name}.positive"] = distributed.all_gather_rows(own.detach() > 0)
        measured[f"{name}.whole"] = distributed.all_gather_rows((own.detach() * 10).long())
    module = torch.nn.BatchNorm1d(2)  # parameters and buffers, a counter among them
    torch.nn.init.constant_(module.weight, rank + 5)
    module.num_batches_tracked.fill_(rank + 7)
    distributed.copy_from_first(module)
    measured |= {"weight": module.weight.detach(), "buffer": module.num_batches_tracked}
    tensor = torch.tensor([1 + rank, 10.0], requires_grad=True)
    total = distributed.sum_over_ranks(tensor)
    measured |= {"sum": total, "unsummed": tensor.detach()}
    measured["attached"] = torch.tensor(total.requires_grad)
    for name, failing in {"nobody_fails": (), "first_fails": (0,), "all_fail": (0, 1)}.items():
        measured[name] = torch.tensor(outcome(fails=rank in failing))
    save_file(measured, Path(folder) / f"rank{rank}.safetensors")
    dist.destroy_process_group()
