"""Swin3D against MONAI's SwinTransformer: errors, times, memory, and what each change brings.

    python benchmarks/encoder.py [--cases fp32 bf16 ...] [--repeats 5] [--threads 1] [--quick]

Both sides hold the same weights and take the same input in one process, in turns; a row shows the
medians. On one thread times are processor seconds, which other programs disturb least; on several,
wall seconds. Memory is measured in a process of its own a side. Every case takes less than four
minutes and keeps the rows of the others in benchmarks/results/encoder.json (encoder_quick.json).
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from comparison import Comparison
from encoder_pair import (
    Encode,
    build_pair,
    forward,
    forward_backward,
    largest_score,
    last_maps,
    ours_last_map,
    results,
    scaled_scores,
    with_parts_of,
    worst,
)
from mg3d.model import products, swin_block, window_attention
from mg3d.model.decoders import VoxelDecoder, VoxelDecoderConfig
from mg3d.model.products import linear
from mg3d.model.swin3d import Swin3D, SwinConfig
from mg3d.process_memory import peak_resident_bytes
from roofline import best_seconds, matrix_peak, needed_flops

SWIN_B = SwinConfig(relative_position_index="truncated")
SMALL = SwinConfig(
    patch_size=4,
    depths=(2, 2),
    num_heads=(3, 6),
    window=(4, 3, 4),
    recompute=False,
    relative_position_index="truncated",
)
TUNED_MALLOC = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"
LARGE = 4.0
"""Factor on the weights of queries and keys, so 16 on scores, for errors at large logits."""


class Setting(NamedTuple):
    """How and on what a case is measured."""

    name: str
    config: SwinConfig
    shape: tuple[int, ...]
    repeats: int
    threads: int

    @property
    def label(self) -> str:
        """How rows begin."""
        return f"{self.name}, {self.threads} thread{'s' * (self.threads > 1)}"

    @property
    def facts(self) -> dict[str, Any]:
        """What every row of times says of itself."""
        clock = "processor" if self.threads == 1 else "wall"
        return {"runs": self.repeats, "threads": self.threads, "clock": clock}


def main() -> None:
    """Measure the cases asked for, print their table and store it beside the others'."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--quick", action="store_true", help="a small encoder, in seconds")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, interleaved")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    setting = Setting("Swin-B 96^3", SWIN_B, (1, 1, 96, 96, 96), asked.repeats, asked.threads)
    if asked.quick:
        setting = setting._replace(name="small 64x48x64", config=SMALL, shape=(2, 1, 64, 48, 64))
    table = Comparison("encoder_quick" if asked.quick else "encoder")
    for name in asked.cases:
        CASES[name](setting, table)
    table.print()
    table.save()


# Cases


def compare_precision(setting: Setting, table: Comparison, *, bfloat16: bool) -> None:
    """Errors, times with autograd on, and the distance to the matrix peak, in one run."""
    precision = "bfloat16 autocast" if bfloat16 else "float32"
    name = f"{setting.label}, {precision}"
    pair = build_pair(setting.config)
    torch.manual_seed(1)
    image = torch.rand(setting.shape)
    add_errors(name, pair, image, table, bfloat16=bfloat16)
    peak = matrix_peak(torch.bfloat16 if bfloat16 else torch.float32)
    table.add(f"{name}: matrix peak", peak, None, "GFLOP/s", threads=setting.threads)
    flops = needed_flops(setting.config, setting.shape) / 1e9
    for label, run, work in (
        ("forward", forward, flops),
        ("forward + backward", forward_backward, 3 * flops),
    ):
        sides = [
            lambda side=side, run=run: run(side, image, bfloat16=bfloat16)
            for side in last_maps(pair)
        ]
        seconds = medians(sides, setting)
        volumes = setting.shape[0]
        table.add(
            f"{name}: {label}", *(s / volumes for s in seconds), "s a volume", **setting.facts
        )
        distances = [s * peak / work for s in seconds]
        table.add(f"{name}: {label}, distance to the roofline", *distances, "times its time")


def add_errors(
    name: str,
    pair: tuple[Swin3D, SwinTransformer],
    image: Tensor,
    table: Comparison,
    *,
    bfloat16: bool,
) -> None:
    """Largest error of outputs and of any gradient, as shares of each tensor's largest value.

    The truth is MONAI in float32; with bfloat16 MONAI's own error stands beside ours.
    """
    ours, reference = last_maps(pair)
    for scale in (1.0, LARGE):
        with scaled_scores(pair, scale):
            truth = results(reference, pair[1], image)
            found = results(ours, pair[0], image, bfloat16=bfloat16)
            theirs = results(reference, pair[1], image, bfloat16=True) if bfloat16 else None
            what = f"{name}, scores up to {largest_score(pair[1], image):.3g}"
        table.add(
            f"{what}: error of the output",
            *(None if r is None else worst(r[:1], truth[:1]) for r in (found, theirs)),
            "of the largest",
        )
        table.add(
            f"{what}: error of a gradient",
            *(None if r is None else worst(r[1:], truth[1:]) for r in (found, theirs)),
            "of the largest",
            tensors=len(truth) - 1,
        )


def compare_tuned_malloc(setting: Setting, table: Comparison) -> None:
    """The same times where glibc keeps large blocks instead of returning them."""
    if os.environ.get("GLIBC_TUNABLES") != TUNED_MALLOC:
        words = [f"--repeats={setting.repeats}", f"--threads={setting.threads}"]
        words += ["--quick"] * (setting.config is SMALL)
        subprocess.run(
            [sys.executable, __file__, "--cases", "malloc", *words],
            env=os.environ | {"GLIBC_TUNABLES": TUNED_MALLOC},
            check=True,
        )
        return
    image = torch.rand(setting.shape)
    sides = [lambda s=s: forward_backward(s, image) for s in last_maps(build_pair(setting.config))]
    name = f"{setting.label}, float32: forward + backward, both with tuned malloc"
    table.add(name, *medians(sides, setting), "s a batch", **setting.facts)


def compare_flash(setting: Setting, table: Comparison) -> None:
    """Forward without autograd, where MONAI can use PyTorch's fused attention."""
    image = torch.rand(setting.shape)
    for bfloat16 in (False, True):
        pair = build_pair(setting.config, flash=True)
        with torch.no_grad():
            sides = [
                lambda s=s, low=bfloat16: forward(s, image, bfloat16=low) for s in last_maps(pair)
            ]
            seconds = medians(sides, setting)
        precision = "bfloat16 autocast" if bfloat16 else "float32"
        name = f"{setting.label}, {precision}: forward, no_grad, MONAI's flash attention"
        table.add(name, *seconds, "s a batch", **setting.facts)


def compare_memory(setting: Setting, table: Comparison) -> None:
    """Peak memory of a pass in each direction, each side in a fresh process."""
    for bfloat16 in (False, True):
        peaks = []
        for side in (0, 1):
            context = get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
                peaks.append(pool.submit(peak_megabytes, setting, side, bfloat16).result())
        precision = "bfloat16 autocast" if bfloat16 else "float32"
        name = f"{setting.label}, {precision}: peak memory, forward + backward"
        table.add(name, *peaks, "MB above the interpreter and its weights", runs=1)


def peak_megabytes(setting: Setting, side: int, bfloat16: bool) -> float:
    """Peak resident memory of one pass above what the process holds before it."""
    torch.set_num_threads(setting.threads)
    encode = last_maps(build_pair(setting.config))[side]
    image = torch.rand(setting.shape)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    forward_backward(encode, image, bfloat16=bfloat16)
    return (peak_resident_bytes() - before) / 1e6


def measure_ablation(setting: Setting, table: Comparison) -> None:
    """Forward + backward with one change undone at a time; the ratio is what it brings."""
    image = torch.rand(setting.shape)
    pair = build_pair(setting.config)
    whole = last_maps(pair)[0]
    never, shipped = 2**40, window_attention.ShippedAttention(2**24)
    undone: dict[str, Any] = {
        "oneDNN for float32": [
            patch.object(products, "ONEDNN_LINEAR", None),
            patch.object(products, "_is_exact", lambda: False),
        ],
        "oneDNN for attention and weights' gradients": [
            patch.object(products, "_is_exact", lambda: False)
        ],
        "leaving out row maxima": [patch.object(window_attention, "_room", lambda _: -math.inf)],
        "slices of attention": [patch.object(window_attention, "SLICE_BYTES", never)],
        "chunks of boxes": [
            patch.object(window_attention, "SLICE_BYTES", never),
            patch.dict(swin_block.CHUNK_BYTES, cpu=never),
        ],
        "attention written out, instead of scaled_dot_product_attention": [
            patch.object(swin_block, "kernel_for", lambda _: shipped)
        ],
    }
    sides = [lambda: forward_backward(whole, image)]
    for patches in undone.values():
        sides.append(lambda patches=patches: under(patches, whole, image))
    swapped = {"the block, instead of MONAI's": "blocks", "merging as one copy": "downsample"}
    for part in swapped.values():
        encode = ours_last_map(with_parts_of(pair, part, setting.config))
        sides.append(lambda encode=encode: forward_backward(encode, image))
    keeping = Swin3D(replace(setting.config, recompute=not setting.config.recompute))
    sides.append(lambda: forward_backward(ours_last_map(keeping), image))
    ours, *others = medians(sides, setting)
    names = [*undone, *swapped, "recomputing" if setting.config.recompute else "keeping"]
    for name, seconds in zip(names, others, strict=True):
        row = f"{setting.label}, float32: forward + backward, without {name}"
        table.add(row, ours, seconds, "s a batch", **setting.facts)


def under(patches: Sequence[Any], encode: Encode, image: Tensor) -> None:
    """A pass with parts of the encoder patched."""
    with ExitStack() as stack:
        for change in patches:
            stack.enter_context(change)
        forward_backward(encode, image)


def compare_windows(setting: Setting, table: Comparison) -> None:
    """Windows of 7 pad most grids; of 6 and 8 divide those of 96 voxels (8 but for one stage)."""
    image = torch.rand(setting.shape)
    for side in (6, 7, 8):
        config = replace(setting.config, window=(side,) * 3)
        sides = [lambda s=s: forward_backward(s, image) for s in last_maps(build_pair(config))]
        name = f"{setting.label}, float32: forward + backward, window {side}"
        table.add(name, *medians(sides, setting), "s a batch", **setting.facts)


def compare_paper_grid(setting: Setting, table: Comparison) -> None:
    """The grid of the paper."""
    case = setting._replace(name="Swin-B 128x96x128", shape=(1, 1, 128, 96, 128))
    compare_seconds_a_volume(case, table, bfloat16=False)


def compare_phantom(setting: Setting, table: Comparison) -> None:
    """The small encoder of the phantom recipes, a batch of theirs."""
    case = setting._replace(
        name="phantom-tiny 16 x 64x48x64", config=SMALL, shape=(16, 1, 64, 48, 64)
    )
    for bfloat16 in (False, True):
        compare_seconds_a_volume(case, table, bfloat16=bfloat16)


def compare_seconds_a_volume(case: Setting, table: Comparison, *, bfloat16: bool) -> None:
    """Forward + backward."""
    encoders, image = last_maps(build_pair(case.config)), torch.rand(case.shape)
    sides = [lambda s=s: forward_backward(s, image, bfloat16=bfloat16) for s in encoders]
    seconds = [s / case.shape[0] for s in medians(sides, case)]
    precision = "bfloat16 autocast" if bfloat16 else "float32"
    row = f"{case.label}, {precision}: forward + backward"
    table.add(row, *seconds, "s a volume", **case.facts)


def compare_decoders(setting: Setting, table: Comparison) -> None:
    """The decoder of the small recipe against the same layers in their plain order."""
    config, grid, batch = VoxelDecoderConfig(in_channels=192, stride=16), (4, 3, 4), 16
    decoder = VoxelDecoder(config)
    layers: list[nn.Module] = []
    for stage in decoder.stages:
        layers += [stage.conv, stage.norm, stage.activation]
        layers.append(nn.Upsample(scale_factor=2, mode="trilinear"))
    plain = nn.Sequential(*layers, decoder.head)
    tokens = torch.randn(batch, 48, config.in_channels, requires_grad=True)
    volume = tokens.detach().transpose(1, 2).reshape(batch, -1, *grid).requires_grad_()
    sides = [
        lambda: decoder(tokens, grid).square().mean().backward(),
        lambda: plain(volume).square().mean().backward(),
    ]
    seconds = [s / batch for s in medians(sides, setting)]
    row = f"decoder {batch} x 64x48x64, {setting.threads} threads: forward + backward"
    table.add(row, *seconds, "s a volume", **setting.facts)


def compare_products(setting: Setting, table: Comparison) -> None:
    """The products that the first stage is made of, by our choice of kernel and by MKL."""
    tokens, width = 2744, setting.config.embed_dim
    x, weight = torch.randn(tokens, width), torch.randn(3 * width, width)
    queries, keys = torch.randn(24, 343, 16), torch.randn(24, 16, 343)
    name = f"float32 products, {setting.threads} thread{'s' * (setting.threads > 1)}"
    rates = [
        2 * tokens * 3 * width**2 / best_seconds(product, x, weight) / 1e9
        for product in (linear, F.linear)
    ]
    table.add(f"{name}: {tokens} tokens by {width} x {3 * width}", *rates, "GFLOP/s")
    plain = best_seconds(torch.bmm, queries, keys)
    with products.through_onednn():
        seconds = best_seconds(torch.bmm, queries, keys), plain
    rates = [2 * 24 * 343**2 * 16 / s / 1e9 for s in seconds]
    table.add(f"{name}: 24 x 343 queries by 343 keys of 16", *rates, "GFLOP/s")


CASES: dict[str, Callable[[Setting, Comparison], None]] = {
    "fp32": lambda setting, table: compare_precision(setting, table, bfloat16=False),
    "bf16": lambda setting, table: compare_precision(setting, table, bfloat16=True),
    "malloc": compare_tuned_malloc,
    "flash": compare_flash,
    "memory": compare_memory,
    "ablation": measure_ablation,
    "windows": compare_windows,
    "grid": compare_paper_grid,
    "phantom": compare_phantom,
    "decoder": compare_decoders,
    "products": compare_products,
}


# Measures


def medians(sides: Sequence[Callable[[], Any]], setting: Setting) -> list[float]:
    """Median seconds of each side; they take turns, after one turn unmeasured."""
    clock = time.process_time if setting.threads == 1 else time.perf_counter
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(setting.repeats + 1):
        for side, results_ in zip(sides, seconds, strict=True):
            began = clock()
            side()
            if turn:
                results_.append(clock() - began)
    return [statistics.median(results_) for results_ in seconds]


if __name__ == "__main__":
    main()
