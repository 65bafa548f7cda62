"""What every benchmark shares: options, timing of peers in turn, peak memory, a table and a last line of JSON.

A benchmark is a script. It measures what a peer takes and what we take in one run, so that both meet the same machine,
makes a `Row` of each pair, and ends with `report`:

    options = parse(__doc__)
    seconds = alternately({"peer": theirs, "ours": ours}, options)
    report("name", [Row("what was done", seconds["peer"], seconds["ours"], must=2.0)])
"""

import argparse
import gc
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from sepasr_cli.heap import keep_heap

#: Distributions whose versions stand beside the figures, where they are installed.
VERSIONS = ("torch", "espnet", "transformers", "torchaudio", "mir_eval", "pyroomacoustics", "pystoi", "jiwer")

#: What is timed.
Task = Callable[[], object]
#: Those that `apart` has made in this process.
_TASKS: dict[str, Task] = {}


@dataclass(frozen=True)
class Row:
    """One claim: a cost of the peer and our own, in the same unit, smaller being better.

    A cost is seconds, seconds a mixture, MiB, or an error; where there is no peer, `peer` is what is allowed.
    """

    name: str
    peer: float
    ours: float
    #: The ratio peer / ours that is promised; None where the row stands for comparison alone.
    must: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        return self.peer / self.ours


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks take, for those that have more; else see `parse`."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--repeats", type=int, default=5, help="rounds of which the median is taken (default: 5)")
    found.add_argument("--threads", type=int, default=os.cpu_count(), help="of each process (default: all cores)")
    found.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    return found


def parse(description: str | None) -> argparse.Namespace:
    """The common options, with the number of threads put in force."""
    return prepared(parser(description).parse_args())


def prepared(options: argparse.Namespace) -> argparse.Namespace:
    """Options whose number of threads is in force from now on."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


def alternately(tasks: Mapping[str, Task], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each task, all of them in turn and round by round, so that drift of the machine hits all alike.

    Each is run once before, unmeasured.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(options.repeats):
        for name, task in tasks.items():
            gc.collect()
            began = _now(options.device)
            task()
            times[name].append(_now(options.device) - began)
    return {name: statistics.median(found) for name, found in times.items()}


def apart(kinds: Sequence[str], make: Callable[..., Task], options: argparse.Namespace) -> dict[str, float]:
    """As `alternately`, where what one side sets for its whole process must not help the other.

    Each kind has a process of its own, `as_used`, where `make(kind, options)` of the script's top level makes its task.
    """
    pools = {kind: ProcessPoolExecutor(1, mp_context=get_context("spawn")) for kind in kinds}
    try:
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for round_number in range(options.repeats + 1):
            for kind, pool in pools.items():
                taken = pool.submit(_timed, make, kind, options).result()
                if round_number > 0:  # the first one is not counted
                    times[kind].append(taken)
    finally:
        for pool in pools.values():
            pool.shutdown()
    return {kind: statistics.median(found) for kind, found in times.items()}


def _timed(make: Callable[..., Task], kind: str, options: argparse.Namespace) -> float:
    if kind not in _TASKS:
        _TASKS[kind] = make(kind, as_used(kind, options))
    gc.collect()
    began = _now(options.device)
    _TASKS[kind]()
    return _now(options.device) - began


def as_used(kind: str, options: argparse.Namespace) -> argparse.Namespace:
    """`prepared`, for a process of its own: ours, any kind but "peer", keeps its heap as the commands do."""
    if kind != "peer" and options.device == "cpu":
        keep_heap()
    return prepared(options)


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def in_child(function: Callable[..., Any], *args: Any) -> Any:
    """What a function of the script's top level gives, run in a fresh process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_memory(device: str = "cpu") -> float:
    """The most memory that this process ever held, in MiB: its resident set, or what PyTorch took of a GPU.

    Called at the end of a function that runs `in_child`.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")  # getrusage would count the parent's memory before the child began
    if not status.exists():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1]) / 2**10


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """|found - wanted| / |wanted|."""
    return float((found - wanted).norm() / wanted.norm())


def machine(device: str = "cpu") -> str:
    """The processor, its threads in use, and the versions, in one line."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists() and (found := re.search(r"model name\s*:\s*(.+)", information.read_text())):
        processor = found[1]
    if device.startswith("cuda"):
        processor += f", {torch.cuda.get_device_name(device)}"
    versions = []
    for name in VERSIONS:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{processor}, {cores}, Python {platform.python_version()}, {', '.join(versions)}"


def report(benchmark: str, rows: Sequence[Row], device: str = "cpu") -> None:
    """Print the machine, the table, and last one line of JSON."""
    width = max(len(row.name) for row in rows)
    print(f"\n{machine(device)}\n")
    print(f"{benchmark:{width}}  {'peer':>9}  {'ours':>9}  {'':4} {'ratio':>8}  {'must':>6}")
    for row in rows:
        must = "" if row.must is None else f"{row.must:g}"
        short = "  falls short" if row.must is not None and row.ratio < row.must else ""
        figures = f"{row.peer:9.4g}  {row.ours:9.4g}  {row.unit:4} {row.ratio:8.3g}  {must:>6}"
        print(f"{row.name:{width}}  {figures}{short}")
    records = [
        {
            "name": row.name,
            "peer": _significant(row.peer),
            "ours": _significant(row.ours),
            "ratio": _significant(row.ratio),
            "must": row.must,
        }
        for row in rows
    ]
    print(json.dumps({"benchmark": benchmark, "rows": records}))


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
