"""The script of the documentation, with a scheduler of two shell scripts in place of SLURM."""

import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "many-processes.md"
VARIABLES = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2",
             "SLURM_CPUS_PER_TASK": "12", "SLURM_JOB_ID": "77"}  # fmt: skip


def script() -> str:
    blocks = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def test_the_script_is_valid_bash() -> None:
    subprocess.run(["bash", "-n"], input=script(), text=True, check=True)


@pytest.mark.parametrize(("code", "queued_again"), [(0, False), (1, False), (75, True)])
def test_the_job_is_queued_again_after_75_only(
    code: int, queued_again: bool, tmp_path: Path
) -> None:
    commands = {
        "srun": f'echo "$WORLD_SIZE $LOCAL_WORLD_SIZE $GROUP_WORLD_SIZE: $@"; exit {code}',
        "scontrol": 'echo "$@" > queued',
    }
    for name, body in commands.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/bash\n{body}\n")
        command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash"], input=script(), text=True, capture_output=True, cwd=tmp_path,
        env=os.environ | VARIABLES | {"PATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    # srun does not take the number of cores over from sbatch, and waits for ever unless told.
    options = "--cpus-per-task=12 --wait=120"
    assert done.stdout == f"8 4 2: {options} mg3d pretrain mg3d store run\n"
    queued = tmp_path / "queued"
    assert queued.exists() == queued_again
    if queued_again:
        assert queued.read_text() == "requeue 77\n"
