"""Freed arrays stay with the process where glibc is in use."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from sepasr_cli.heap import keep_heap
kept = keep_heap() if sys.argv[1] == "keep" else False
for _ in range(3):
    np.ones(1 << 23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(1 << 23)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="concerns glibc")
def test_arrays_fault_no_more() -> None:
    found = {}
    for how in ("leave", "keep"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        kept, faults = done.stdout.split()
        found[how] = (kept == "True", int(faults))
    if not found["keep"][0]:
        pytest.skip("another C library than glibc")
    assert found["keep"][1] < found["leave"][1] / 10
