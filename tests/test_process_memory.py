"""Memory of a process is its own."""

import subprocess
import sys

from mg3d.process_memory import peak_resident_bytes

MB = 10**6
CHILD = "from mg3d.process_memory import peak_resident_bytes as peak; print(peak())"
PARENT = f"""
import subprocess, sys
held = bytearray(b"1") * {300 * MB}
print(subprocess.run([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE, text=True).stdout)
"""


def test_the_peak_stays_when_memory_is_given_back() -> None:
    held = bytearray(b"1") * (300 * MB)
    peak = peak_resident_bytes()
    assert peak > len(held)
    del held
    assert peak_resident_bytes() > 0.99 * peak  # the kernel counts in batches


def test_what_the_parent_held_is_not_counted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, check=True
    )
    assert 1 * MB < int(done.stdout) < 100 * MB  # measured: 12; by getrusage 312
