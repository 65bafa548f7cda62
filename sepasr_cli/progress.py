"""What a command says while it works: a bar on a terminal, a plain line now and then in a log."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: Of several processes that train together, the first one speaks.
console = Console(stderr=True, highlight=False, quiet=os.environ.get("RANK", "0") != "0")

#: Seconds between two lines of a log.
LOG_EVERY = 15.0


def say(message: str) -> None:
    """Print one line for the user, on standard error."""
    console.print(message, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print one warning line."""
    console.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Yield `advance(steps=1, note="")`, which moves a bar of `total` steps that starts at `done`."""
    if console.is_terminal:
        done_so_far = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*done_so_far, TextColumn("{task.fields[note]}"), *times, console=console) as bar:
            task = bar.add_task(label, total=total, completed=done, note="")

            def advance(steps: int = 1, note: str = "") -> None:
                if note:
                    bar.update(task, note=note)
                bar.advance(task, steps)

            yield advance
        return
    count, began, last = done, time.monotonic(), 0.0

    if total == 1 or console.quiet:
        # One step is over before a line about it is of use.
        yield lambda steps=1, note="": None
        return

    def log(steps: int = 1, note: str = "") -> None:
        nonlocal count, last
        count += steps
        now = time.monotonic()
        if now - last < LOG_EVERY and count < total:
            return
        last = now
        spent = now - began
        left = spent / max(count - done, 1) * (total - count)
        words = [label, f"{count}/{total}", note, f"{spent:.0f}s elapsed, {left:.0f}s left"]
        print(" ".join(word for word in words if word), file=sys.stderr, flush=True)

    yield log
