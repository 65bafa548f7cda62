"""Freed memory stays with the process that asked for it."""

import subprocess
import sys

import pytest

from sepasr_cli import heap

#: Page faults of filling 64 MiB for the second time.
SCRIPT = """
import resource, sys
from sepasr_cli.heap import keep_heap
from sepasr_cli.inference.inputs import work_on_audio
if sys.argv[1] == "command":
    work_on_audio("separate", [], lambda item, advance: None)
kept = keep_heap() if sys.argv[1] == "keep" else False
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"x") * (64 << 20)
    del block
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
def test_no_page_is_mapped_twice() -> None:
    faults = {}
    for how in ("keep", "command", "leave"):
        line = [sys.executable, "-c", SCRIPT, how]
        kept, count = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
        if how == "keep" and kept != "True":
            pytest.skip("another C library than that of GNU")
        faults[how] = int(count)
    assert faults["keep"] < 0.05 * faults["leave"]
    assert faults["command"] < 0.05 * faults["leave"]


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.sys, "platform", "darwin")
    assert heap.keep_heap.__wrapped__() is False
