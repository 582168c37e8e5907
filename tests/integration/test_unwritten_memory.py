"""Training reads no memory that nobody wrote, in this package or in a kernel below it.

The same run starts twice, and glibc fills what it hands out with another byte each time; a single
such read shows as a difference. This found a bfloat16 gradient of oneDNN, see `decoders`.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mg3d.training.pretrain import PretrainConfig, _plain

FILLS = {
    "huge": "128",  # bytes 0x7f: 3.4e38 as float32 and as bfloat16
    "negative": "1",  # bytes 0xfe: -1.7e38
}


def start(config: PretrainConfig, folder: Path, fill: str) -> subprocess.Popen[bytes]:
    section = {k: v for k, v in _plain(config).items() if k not in ("store", "run")}
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"pretrain": section}))
    words = ["pretrain", str(recipe), str(config.store), str(config.run)]
    # the thread cache hands out small blocks unfilled
    poison = {"MALLOC_PERTURB_": fill, "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    return subprocess.Popen([sys.executable, "-m", "mg3d", *words], env=os.environ | poison)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs MALLOC_PERTURB_ of glibc")
def test_what_memory_held_before_changes_no_bit(settings, tmp_path: Path) -> None:
    weights = {}
    for name, fill in FILLS.items():
        config = settings(run=tmp_path / name, precision="bf16-mixed")
        assert start(config, tmp_path, fill).wait() == 0
        weights[name] = load_file(config.run / "release" / "model.safetensors")
    huge, negative = weights.values()
    assert [name for name in huge if not torch.equal(huge[name], negative[name])] == []
