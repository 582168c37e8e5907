"""Swin3D against MONAI's SwinTransformer, and the voxel decoder against its plain layers.

    python benchmarks/encoder.py [--quick] [--repeats 3] [--threads 1]

Both sides hold the same weights and take the same input in one process, in turns; a row shows the
medians. Times are processor seconds of this process, which on one thread are what an idle machine's
clock would show and which other programs disturb least. Peak memory is taken in a fresh process a
side. Prints a table and writes benchmarks/results/encoder.json (with --quick: encoder_quick.json).
"""

import argparse
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import monai
import torch
from monai.networks.nets.swin_unetr import SwinTransformer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mg3d.files import write_json
from mg3d.model.decoders import VoxelDecoder, VoxelDecoderConfig
from mg3d.model.swin3d import Swin3D, SwinConfig

RESULTS = Path(__file__).parent / "results"
SWIN_B = SwinConfig(relative_position_index="truncated")
SMALL = SwinConfig(
    patch_size=4,
    depths=(2, 2),
    num_heads=(3, 6),
    window=(4, 3, 4),
    recompute=False,
    relative_position_index="truncated",
)


class Case(NamedTuple):
    """An encoder and its input."""

    name: str
    config: SwinConfig
    shape: tuple[int, ...]


CASES = (
    Case("Swin-B 96x96x96", SWIN_B, (1, 1, 96, 96, 96)),
    Case("Swin-B 128x96x128", SWIN_B, (1, 1, 128, 96, 128)),
    Case("phantom-tiny 16 x 64x48x64", SMALL, (16, 1, 64, 48, 64)),
)
QUICK_CASES = (Case("phantom-tiny 2 x 64x48x64", SMALL, (2, 1, 64, 48, 64)),)


class Rows:
    """The rows of the table, in the form in which they are stored."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, case: str, ours: float, reference: float | None, unit: str) -> None:
        """Append a row; ``reference`` is None where there is nothing to compare with."""
        ratio = None if reference is None else reference / ours
        row = {"case": case, "ours": ours, "reference": reference, "ratio": ratio, "unit": unit}
        self.rows.append(row)

    def print(self) -> None:
        """Show the table."""
        table = Table("case", "ours", "reference", "ratio", "unit")
        for row in self.rows:
            numbers = (row[name] for name in ("ours", "reference", "ratio"))
            shown = ("" if number is None else f"{number:.3g}" for number in numbers)
            table.add_row(row["case"], *shown, row["unit"])
        Console().print(table)


def main() -> None:
    """Measure every case, print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small case, in seconds")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, interleaved")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows = Rows()
    for case in QUICK_CASES if asked.quick else CASES:
        compare_encoders(case, asked.repeats, rows)
        compare_memory(case, asked.threads, rows)
    compare_decoders(2 if asked.quick else 16, asked.repeats, rows)
    rows.print()
    machine = {
        "processor": processor_name(),
        "threads": asked.threads,
        "repeats": asked.repeats,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
    }
    name = "encoder_quick.json" if asked.quick else "encoder.json"
    write_json(RESULTS / name, {"machine": machine, "rows": rows.rows})


def compare_encoders(case: Case, repeats: int, rows: Rows) -> None:
    """Times of forward, and of forward with backward in two precisions; errors."""
    ours, reference = build_ours(case.config), build_reference(case.config)
    ours.load_state_dict(reference.state_dict())
    image = torch.rand(case.shape)
    rows.add(f"{case.name}: output error", *output_error(ours, reference, image), "of the largest")

    def forward(encode: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            encode(image)

    def both(encode: Callable[[Tensor], Tensor], *, bfloat16: bool = False) -> None:
        context: AbstractContextManager[Any] = nullcontext()
        if bfloat16:
            context = torch.autocast("cpu", dtype=torch.bfloat16)
        with context:
            loss = encode(image).float().square().mean()
        loss.backward()

    def both_bfloat16(encode: Callable[[Tensor], Tensor]) -> None:
        both(encode, bfloat16=True)

    sides = (ours_last_map(ours), reference_last_map(reference))
    for label, measure in (
        ("forward", forward),
        ("forward + backward", both),
        ("forward + backward, bfloat16 autocast", both_bfloat16),
    ):
        seconds = interleaved_medians([lambda m=measure, s=s: m(s) for s in sides], repeats)
        rows.add(f"{case.name}: {label}", *(s / case.shape[0] for s in seconds), "s a volume")


def output_error(
    ours: Swin3D, reference: SwinTransformer, image: Tensor
) -> tuple[float, float | None]:
    """Largest difference of the last maps as a share of the largest value."""
    with torch.no_grad():
        expected = reference_last_map(reference)(image)
        actual = ours_last_map(ours)(image)
    return ((actual - expected).abs().max() / expected.abs().max()).item(), None


def build_ours(config: SwinConfig) -> Swin3D:
    """Our encoder."""
    return Swin3D(config)


def build_reference(config: SwinConfig) -> SwinTransformer:
    """MONAI's encoder of the same function."""
    torch.manual_seed(0)
    return SwinTransformer(
        in_chans=1,
        embed_dim=config.embed_dim,
        window_size=config.window,
        patch_size=(config.patch_size,) * 3,
        depths=config.depths,
        num_heads=config.num_heads,
        downsample="mergingv2",
    )


def ours_last_map(encoder: Swin3D) -> Callable[[Tensor], Tensor]:
    """Image -> last map (B, C, X, Y, Z)."""
    return lambda image: encoder(image, with_stages=True).stages[-1]


def reference_last_map(encoder: SwinTransformer) -> Callable[[Tensor], Tensor]:
    """Image -> last map, stage by stage: MONAI's own forward insists on four stages."""

    def encode(image: Tensor) -> Tensor:
        x = encoder.patch_embed(image)
        for stage in range(encoder.num_layers):
            x = getattr(encoder, f"layers{stage + 1}")[0](x.contiguous())
        last: Tensor = encoder.proj_out(x, True)
        return last

    return encode


def interleaved_medians(measures: list[Callable[[], None]], repeats: int) -> tuple[float, ...]:
    """Median processor seconds of each function; they take turns, after one turn unmeasured."""
    seconds: list[list[float]] = [[] for _ in measures]
    for turn in range(repeats + 1):
        for measure, results in zip(measures, seconds, strict=True):
            start = time.process_time()
            measure()
            if turn:
                results.append(time.process_time() - start)
    return tuple(statistics.median(results) for results in seconds)


def compare_memory(case: Case, threads: int, rows: Rows) -> None:
    """Peak memory of a forward and backward pass, each side in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        peaks = [
            pool.submit(peak_megabytes, case, threads, side).result()
            for side in ("ours", "reference")
        ]
    rows.add(f"{case.name}: peak memory, forward + backward", *peaks, "MB above the model")


def peak_megabytes(case: Case, threads: int, side: str) -> float:
    """Peak resident memory of one pass above what the process holds before it."""
    torch.set_num_threads(threads)
    encode = (
        ours_last_map(build_ours(case.config))
        if side == "ours"
        else reference_last_map(build_reference(case.config))
    )
    image = torch.rand(case.shape)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    encode(image).square().mean().backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6


def compare_decoders(batch: int, repeats: int, rows: Rows) -> None:
    """The decoder of the small recipe against the same layers in their plain order."""
    config = VoxelDecoderConfig(in_channels=192, stride=16)
    grid = (4, 3, 4)
    decoder = VoxelDecoder(config)
    plain = plain_decoder(decoder)
    tokens = torch.randn(batch, 48, config.in_channels, requires_grad=True)
    volume = tokens.detach().transpose(1, 2).reshape(batch, -1, *grid).requires_grad_()
    seconds = interleaved_medians(
        [
            lambda: decoder(tokens, grid).square().mean().backward(),
            lambda: plain(volume).square().mean().backward(),
        ],
        repeats,
    )
    case = f"decoder {batch} x 64x48x64: forward + backward"
    rows.add(case, *(s / batch for s in seconds), "s a volume")


def plain_decoder(decoder: VoxelDecoder) -> nn.Sequential:
    """The decoder's layers with its weights, as one writes them down."""
    layers: list[nn.Module] = []
    for stage in decoder.stages:
        layers += [stage.conv, stage.norm, stage.activation]
        layers.append(nn.Upsample(scale_factor=2, mode="trilinear"))
    return nn.Sequential(*layers, decoder.head)


def processor_name() -> str:
    """As the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
