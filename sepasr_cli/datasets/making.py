"""Makes published sets again from what they are defined by, in their own layout; many processes and machines share it.

Every file appears whole, and a file that is there is not made again. Each folder of a split has a record of what it was
made from, so that files of other tables or other settings are never mixed.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.io import wavfile

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.corpora.corpus import lines
from sepasr_cli.datasets.dataset import evenly
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic, fingerprint, inside, write_json
from sepasr_cli.parallel import run_tasks
from sepasr_cli.progress import progress, say, warn

#: Changes when rendering makes other audio of the same tables.
_VERSION = 1

RECORD = "made.json"


@dataclass(frozen=True)
class Job(ABC):
    """One mixture to be made: plain data, so that it can go to another process. `name` is that of its files."""

    name: str
    sample_rate: int
    length: Literal["min", "max"]

    #: How samples are written.
    subtype: ClassVar[str] = "PCM_16"

    @abstractmethod
    def outputs(self) -> list[Path]:
        """The files that are made."""

    @abstractmethod
    def render(self) -> dict[Path, Audio]:
        """The signals of these files, (M, N).

        Raises:
            SepasrError: where something it is made from is missing or unusable.
        """


@dataclass(frozen=True)
class Plan:
    """What makes up one split: its jobs, the folders that get a record, and what that record says."""

    name: str
    folders: tuple[Path, ...]
    made_from: dict[str, Any]
    jobs: Sequence[Job]


def make(plan: Plan, count: int | None, workers: int, shard: tuple[int, int], skip_bad: bool) -> bool:
    """Make what is not there yet: of `count` mixtures, or all, and of these a part where `shard` (i, n) says so.

    Returns:
        Whether all of the split is there now, other parts too.

    Raises:
        SepasrError: where a folder holds files of other origin, and, unless bad ones are skipped, for a job that fails.
    """
    for folder in plan.folders:
        _record(folder, plan.made_from)
    part, parts = shard
    jobs = evenly(plan.jobs, count)
    waiting = [job for job in jobs[part - 1 :: parts] if not _whole(job)]
    failed: list[str] = []
    if waiting:
        say(f"{plan.name}: {len(waiting)} of {len(jobs)} mixtures to be made")
    with progress(f"make {plan.name}", total=len(waiting)) as advance:
        for problem in run_tasks(_work, waiting, workers):
            if problem is not None:
                if not skip_bad:
                    raise SepasrError(problem)
                failed.append(problem)
            advance()
    if failed:
        warn(f"{plan.name}: {len(failed)} mixtures left out; the first: {min(failed)}")
    # Files are written in their order.
    return parts == 1 or all(job.outputs()[-1].is_file() for job in jobs)


def _work(job: Job) -> str | None:
    """Make one mixture. Gives what is wrong with it."""
    try:
        for path, samples in job.render().items():
            if job.subtype == "FLOAT":
                # libsndfile stamps the time into such files; the same samples shall be the same bytes.
                with atomic(path) as temporary:
                    wavfile.write(temporary, job.sample_rate, samples.T.astype(np.float32))
            else:
                audio.write(path, samples, job.sample_rate, subtype=job.subtype)
    except SepasrError as error:
        return f"{job.name}: {error}"
    return None


def _whole(job: Job) -> bool:
    try:
        return len({audio.info(path).frames for path in job.outputs()}) == 1
    except SepasrError:
        return False


def _record(folder: Path, made_from: dict[str, Any]) -> None:
    path = folder / RECORD
    mark = fingerprint(_VERSION, made_from)
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("fingerprint")
        except (ValueError, AttributeError):
            found = None
        if found != mark:
            raise SepasrError(
                f"{folder}: was made from other tables or settings (see {RECORD}); move it away, or set another "
                "dataset.path"
            )
        return
    if folder.is_dir() and any(folder.glob("*/*.wav")):
        raise SepasrError(
            f"{folder}: holds files that were not made here; leave dataset.make_from out to read them where they are, "
            "or set another dataset.path"
        )
    write_json(path, {"fingerprint": mark, **made_from})


def read_csv(path: Path, columns: Sequence[str], key: str) -> dict[str, dict[str, str]]:
    """The rows of a table with commas, by the value of a column.

    Raises:
        SepasrError: where it is missing, lacks a column or a cell, or has a key twice.
    """
    numbered = lines(path)
    rows = csv.DictReader(line for _, line in numbered)
    for column in columns:
        if column not in (rows.fieldnames or ()):
            found = ", ".join(rows.fieldnames or ()) or "nothing"
            raise SepasrError(f"{path}: no column '{column}' (found {found[:80]}); copy the published table again")
    table: dict[str, dict[str, str]] = {}
    for (number, _), row in zip(numbered[1:], rows, strict=False):
        if any(not row[column] for column in columns):
            raise SepasrError(f"{path}:{number}: a cell is missing; copy the published table again")
        if row[key] in table:
            raise SepasrError(f"{path}:{number}: '{row[key]}' stands twice; copy the published table again")
        table[row[key]] = row
    return table


def numbers(row: dict[str, str], columns: Sequence[str], origin: str) -> list[float]:
    """Cells as finite numbers.

    Raises:
        SepasrError: naming the one that is none.
    """
    values = []
    for column in columns:
        try:
            values.append(float(row[column]))
        except ValueError:
            raise SepasrError(f"{origin}: '{column}': found '{row[column][:40]}', expected a number") from None
        if not np.isfinite(values[-1]):
            raise SepasrError(f"{origin}: '{column}': found '{row[column][:40]}', expected a finite number")
    return values


def file_name(name: str, origin: str) -> str:
    """A name of a file that is to be written: no path.

    Raises:
        SepasrError: where it leads anywhere.
    """
    if Path(name).name != name or name.startswith("."):
        raise SepasrError(f"{origin}: '{name[:60]}' is no plain file name; copy the published table again")
    return name


def below_root(root: Path, name: str, origin: str) -> Path:
    """The path that a table names below a folder.

    Raises:
        SepasrError: where it leads out of it.
    """
    try:
        return inside(root, name)
    except SepasrError as error:
        raise SepasrError(f"{origin}: {error}") from None


def read_mono(path: Path, sample_rate: int = 16000) -> Audio:
    """The first channel of a file, (N,), which must be of this rate.

    Raises:
        SepasrError: where it cannot be read or is of another rate.
    """
    samples, rate = audio.read(path)
    if rate != sample_rate:
        raise SepasrError(f"{path}: {rate} Hz found, expected {sample_rate} Hz")
    return samples[0]


def fit(signal: Audio, length: int) -> Audio:
    """Cut or padded with zeros along the last axis."""
    missing = max(length - signal.shape[-1], 0)
    return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])[..., :length]


def quantise(samples: Audio) -> Audio:
    """Rounded to 16 bits.

    >>> quantise(np.array([0.1, 2.0])).tolist()
    [0.100006103515625, 0.999969482421875]
    """
    return (np.clip(np.round(samples * 32768.0), -32768, 32767) / 32768.0).astype(np.float32)
