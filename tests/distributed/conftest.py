"""Makes the module beside the tests importable, also for the processes that the tests start."""

import multiprocessing
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
# Import once what every process needs (DDP imports torch._dynamo, seconds of it), then fork.
multiprocessing.set_forkserver_preload(["mg3d.objectives.registry", "torch._dynamo"])
