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
import resource
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
from mg3d.model import products, swin_block, window_attention
from mg3d.model.decoders import VoxelDecoder, VoxelDecoderConfig
from mg3d.model.products import linear
from mg3d.model.swin3d import Swin3D, SwinConfig
from mg3d.model.window_boxes import Triple, box_groups

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
Encode = Callable[[Tensor], Tensor]


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


# The two sides


def build_reference(config: SwinConfig, *, flash: bool = False) -> SwinTransformer:
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
        use_flash_attention=flash,
    )


def build_pair(config: SwinConfig, *, flash: bool = False) -> tuple[Swin3D, SwinTransformer]:
    """Both encoders with the same weights."""
    reference = build_reference(config, flash=flash)
    ours = Swin3D(config)
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def ours_last_map(encoder: Swin3D) -> Encode:
    """Image -> last map (B, C, X, Y, Z)."""
    return lambda image: encoder(image, with_stages=True).stages[-1]


def reference_last_map(encoder: SwinTransformer) -> Encode:
    """Image -> last map, stage by stage: MONAI's own forward insists on four stages."""

    def encode(image: Tensor) -> Tensor:
        x = encoder.patch_embed(image)
        for stage in range(encoder.num_layers):
            x = getattr(encoder, f"layers{stage + 1}")[0](x.contiguous())
        last: Tensor = encoder.proj_out(x, True)
        return last

    return encode


def last_maps(pair: tuple[Swin3D, SwinTransformer]) -> tuple[Encode, Encode]:
    """Both sides as functions of the image."""
    return ours_last_map(pair[0]), reference_last_map(pair[1])


def forward(encode: Encode, image: Tensor, *, bfloat16: bool = False) -> Tensor:
    """The last map; autograd is as the caller has it."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        return encode(image)


def forward_backward(encode: Encode, image: Tensor, *, bfloat16: bool = False) -> None:
    """One pass in each direction."""
    forward(encode, image, bfloat16=bfloat16).float().square().mean().backward()


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
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6


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


def with_parts_of(pair: tuple[Swin3D, SwinTransformer], part: str, config: SwinConfig) -> nn.Module:
    """Our encoder with MONAI's blocks or merging in place of ours."""
    mixed = Swin3D(config)
    for stage in range(len(config.depths)):
        name = f"layers{stage + 1}"
        theirs = getattr(pair[1], name)[0]
        ours = mixed.get_submodule(name)[0]  # type: ignore[index]
        if part == "downsample":
            ours.downsample = theirs.downsample
        else:
            ours.blocks = nn.ModuleList([Rearranged(theirs)])
    return mixed


class Rearranged(nn.Module):
    """All blocks of one of MONAI's stages, on tokens with channels last."""

    def __init__(self, stage: Any) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x_BXYZC: Tensor) -> Tensor:
        """As MONAI's stage calls them, without its merging."""
        with patch.object(self.stage, "downsample", None):
            result: Tensor = self.stage(x_BXYZC.permute(0, 4, 1, 2, 3))
        return result.permute(0, 2, 3, 4, 1)


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


def results(
    encode: Encode, encoder: nn.Module, image: Tensor, *, bfloat16: bool = False
) -> list[Tensor]:
    """The last map, and the gradients of the image and of all weights by name."""
    leaf = image.clone().requires_grad_()
    last = forward(encode, leaf, bfloat16=bfloat16).float()
    torch.manual_seed(2)
    inputs = [leaf, *(value for _, value in sorted(encoder.named_parameters()))]
    return [last.detach(), *torch.autograd.grad(last, inputs, torch.randn_like(last))]


def worst(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Largest error of any tensor, each relative to its largest value."""
    pairs = zip(found, truth, strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


class scaled_scores:  # noqa: N801
    """Within the block both encoders' queries and keys are ``scale`` times as large."""

    def __init__(self, pair: Sequence[nn.Module], scale: float) -> None:
        self.layers = [
            module
            for encoder in pair
            for name, module in encoder.named_modules()
            if name.endswith("qkv")
        ]
        self.scale = scale

    def _multiply(self, factor: float) -> None:
        with torch.no_grad():
            for layer in self.layers:
                layer.weight[: 2 * layer.in_features].mul_(factor)

    def __enter__(self) -> None:
        self._multiply(self.scale)

    def __exit__(self, *_: object) -> None:
        self._multiply(1 / self.scale)


@torch.no_grad()
def largest_score(encoder: SwinTransformer, image: Tensor) -> float:
    """What enters any softmax, at most."""
    seen: list[float] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0].max().item()))
        for module in encoder.modules()
        if isinstance(module, nn.Softmax)
    ]
    reference_last_map(encoder)(image)
    for hook in hooks:
        hook.remove()
    return max(seen)


def matrix_peak(dtype: torch.dtype, size: int = 1024) -> float:
    """GFLOP/s of the best product of two square matrices, by any kernel at hand."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = min(best_seconds(product, left, right) for product in (torch.mm, linear))
    return 2 * size**3 / best / 1e9


def best_seconds(product: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> float:
    """The fastest of many tries."""
    best = float("inf")
    for _ in range(50):
        began = time.perf_counter()
        product(left, right)
        best = min(best, time.perf_counter() - began)
    return best


def needed_flops(config: SwinConfig, shape: tuple[int, ...]) -> float:
    """Of the matrix products of a forward pass, without padding or anything computed twice."""
    sides: list[int] = [side // config.patch_size for side in shape[2:]]
    channels, flops = config.embed_dim, 2.0 * config.patch_size**3 * config.embed_dim
    flops *= sides[0] * sides[1] * sides[2]
    for depth in config.depths:
        grid: Triple = (sides[0], sides[1], sides[2])
        tokens = grid[0] * grid[1] * grid[2]
        for block in range(depth):
            flops += 2 * tokens * (4 + 2 * config.mlp_ratio) * channels**2
            groups = box_groups(grid, config.window, block % 2 == 1, "correct", torch.device("cpu"))
            for group in groups:
                pairs = group.token_index.numel() * (len(group.position) + group.is_padded)
                flops += 4 * pairs * channels
        sides = [-(-side // 2) for side in grid]
        flops += 2 * sides[0] * sides[1] * sides[2] * 16 * channels**2
        channels *= 2
    return flops * shape[0]


if __name__ == "__main__":
    main()
