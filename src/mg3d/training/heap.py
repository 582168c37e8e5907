"""Freed memory stays with the process, so that a step takes what the last one gave back.

glibc hands large blocks back to the system as soon as they are freed, and every step faults the
same gigabytes in again, zeroed page by page: 4,000 to 8,000 page faults a volume, a tenth to a
quarter of a step of `phantom-tiny` on the CPU. A training process needs them again at once.
"""

import ctypes

# of <malloc.h>
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_ARENA_MAX = -8


def keep_freed_memory() -> bool:
    """Tell the C library's allocator, from now on and for this process alone.

    Returns:
        Whether there was something to tell: other C libraries than glibc do as they did.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc, or no Unix
        return False
    # -1: the top of the heap is never given back; 0: no block of any size gets a mapping of its
    # own; 1: threads that start later share this heap, since heaps of their own are given back
    orders = {_TRIM_THRESHOLD: -1, _MMAP_MAX: 0, _ARENA_MAX: 1}
    return all(mallopt(name, value) for name, value in orders.items())
