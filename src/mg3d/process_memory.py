"""How much memory this process took."""

import resource
import sys
from pathlib import Path


def peak_resident_bytes() -> int:
    """Largest resident set so far.

    On Linux not that of getrusage, which begins with what the parent held when it started this
    process: a plan made from within a notebook of 3 GB would count them.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # no Linux
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
