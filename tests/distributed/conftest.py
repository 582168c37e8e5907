"""Makes the module beside the tests importable, also for the processes that the tests start."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
