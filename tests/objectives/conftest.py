"""Makes the modules beside the tests importable, also for the processes that tests start."""

import multiprocessing
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))
# Import once what every process needs (DDP imports torch._dynamo, seconds of it), then fork.
multiprocessing.set_forkserver_preload(["mg3d.objectives.registry", "torch._dynamo"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
