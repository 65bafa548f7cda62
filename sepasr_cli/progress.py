"""What a command says while it works: a bar on a terminal, a plain line now and then in a log."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

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
def _bar(label: str, total: float, done: float, so_far: ProgressColumn) -> Iterator[Callable[..., None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), so_far, TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(label, total=total, note="")
        bar.update(task, completed=done)

        def advance(steps: float = 1, note: str = "") -> None:
            if note:
                bar.update(task, note=note)
            bar.advance(task, steps)

        yield advance


@contextlib.contextmanager
def audio_progress(label: str, total: float) -> Iterator[Callable[[float], None]]:
    """Yield `advance(seconds)`, which moves a bar of `total` seconds of audio.

    It shows the real-time factor, computing time by audio done, and the time left. A log has a line now and then: none
    where all is done before the first is due.
    """
    began = last = time.monotonic()
    count = 0.0

    def factor() -> str:
        return f"real-time factor {(time.monotonic() - began) / count:.2f}" if count > 0 else ""

    def log(seconds: float) -> None:
        nonlocal count, last
        count += seconds
        now = time.monotonic()
        if now - last < LOG_EVERY or count <= 0 or console.quiet:
            return
        last = now
        left = (now - began) / count * (total - count)
        print(f"{label} {count:.0f}/{total:.0f} s of audio, {factor()}, {left:.0f}s left", file=sys.stderr, flush=True)

    if not console.is_terminal:
        yield log
        return
    with _bar(label, total, 0, TextColumn("{task.completed:.0f}/{task.total:.0f} s of audio")) as move:

        def advance(seconds: float) -> None:
            nonlocal count
            count += seconds
            move(seconds, note=factor())

        yield advance


@contextlib.contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Yield `advance(steps=1, note="")`, which moves a bar of `total` steps that starts at `done`."""
    if console.is_terminal:
        with _bar(label, total, done, MofNCompleteColumn()) as advance:
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
