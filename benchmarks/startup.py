"""How soon `sepasr --help` answers: fresh processes, against `import torch` and a bare interpreter, alternately.

Prints a table and, last, one line of JSON. A row's `ratio` is the peer's time over ours, and should be at least `must`.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

ROUNDS = 5
#: Seconds that the command line may take to answer.
ALLOWED = 0.5
COMMANDS = {
    "sepasr --help": [sys.executable, "-m", "sepasr_cli", "--help"],
    'python -c "import torch"': [sys.executable, "-c", "import torch"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> tuple[float, float]:
    """The time of one run of a command, which must succeed, and how much of it processors worked."""
    began, worked = time.perf_counter(), _processor_time()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, _processor_time() - worked


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    for command in COMMANDS.values():
        seconds(command)  # what the disk reads for the first time is not counted
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            taken[name].append(seconds(command))
    median = {name: statistics.median(time for time, _ in times) for name, times in taken.items()}
    print(f"{'median of ' + str(ROUNDS):26} {'seconds':>8} {'of processor time':>18}")
    for name, times in taken.items():
        print(f"{name:26} {median[name]:8.3f} {statistics.median(worked for _, worked in times):18.3f}")
    ours, torch, bare = median.values()
    rows = [
        {"name": "--help against import torch", "peer": torch, "ours": ours, "must": 1.0},
        {"name": "--help against a bare interpreter", "peer": bare, "ours": ours, "must": None},
        {"name": "--help against the time allowed", "peer": ALLOWED, "ours": ours, "must": 1.0},
    ]
    for row in rows:
        row["ratio"] = row["peer"] / row["ours"]
    keys = ("name", "peer", "ours", "ratio", "must")
    rows = [{key: round(row[key], 3) if isinstance(row[key], float) else row[key] for key in keys} for row in rows]
    print(json.dumps({"benchmark": "startup", "rows": rows}))


if __name__ == "__main__":
    main()
