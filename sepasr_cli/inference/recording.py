"""Recordings that fit a separator, read block by block. Letters: M microphone, N sample.

A separator that takes several numbers of microphones is given those that hear something: silent channels are left out,
and of more than it takes as many as it takes. One of a fixed number takes what there is, or what was chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.inference.activity import SILENT
from sepasr_cli.separation import Separator
from sepasr_cli.separation.microphones import described

#: Recordings shorter than this, in seconds, are refused.
SHORTEST = 0.1


@dataclass(frozen=True)
class Recording:
    """A file whose audio was looked through and fits a separator.

    `rows` are the channels taken, all where None; `remarks` what people should know of the choice, a line each.
    """

    path: Path
    sample_rate: int
    samples: int
    rows: tuple[int, ...] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate

    def blocks(self, sample_rate: int) -> Iterator[Audio]:
        """The audio at any rate, in blocks (M, n) that follow each other; what they hold is that of the whole.

        Raises:
            SepasrError: where the file cannot be read any more.
        """
        taken = (block if self.rows is None else block[list(self.rows)] for block in audio.blocks(self.path))
        return audio.resampled(taken, self.sample_rate, sample_rate)


def open_recording(path: Path, separator: Separator, channels: Sequence[int] | None = None) -> Recording:
    """Look through a file, so that what is wrong with it is known before any work.

    Args:
        path: any file that soundfile reads.
        separator: what it is for.
        channels: the channels to take, counted from 1; all of them where None.

    Raises:
        SepasrError: where it cannot be read, is too short or silent, or its channels do not fit the separator.
    """
    header = audio.info(path)
    if channels is not None and (wrong := [number for number in channels if not 1 <= number <= header.channels]):
        raise SepasrError(f"{path}: --channels asks for channel {wrong[0]}, the file has {header.channels}, from 1")
    if channels is not None or not _chooses(separator, header.channels):
        _check_channels(separator, path, header.channels, None if channels is None else len(channels))
    if header.duration < SHORTEST:
        raise SepasrError(
            f"{path}: too short, {header.frames} samples at {header.sample_rate} Hz found, "
            f"expected at least {SHORTEST:g} s"
        )
    samples, peaks, apart = 0, np.zeros(header.channels), np.zeros(header.channels)
    for block in audio.blocks(path):
        samples += block.shape[1]
        peaks = np.maximum(peaks, np.abs(block).max(1))
        apart = np.maximum(apart, np.abs(block - block[:1]).max(1))
    rows = tuple(range(header.channels)) if channels is None else tuple(number - 1 for number in channels)
    heard = tuple(row for row in rows if peaks[row] > SILENT)
    if not heard:
        raise SepasrError(f"{path}: silent, no sample above {SILENT:g}; expected speech, check the recording")
    # A copy of another channel, as in mono files saved as stereo, tells nothing of directions.
    repeated = () if channels is not None else tuple(row for row in heard if row > 0 and apart[row] <= SILENT)
    distinct = tuple(row for row in heard if row not in repeated)
    chosen = _chosen(separator, distinct, rows) if channels is None else rows
    reference = chosen[separator.config.reference_microphone]
    if reference not in heard:
        raise SepasrError(
            f"{path}: channel {reference + 1} is silent, at which the model estimates the speakers; "
            "choose others with --channels"
        )
    remarks = []
    if silent := [row for row in rows if row not in heard]:
        moved = rows[separator.config.reference_microphone] in silent
        instead = f", the speakers are estimated at channel {reference + 1}" if moved else ""
        remarks.append(f"{_named(silent)} silent{instead}")
    if repeated and not set(repeated) & set(chosen):
        remarks.append(f"{_named(repeated)} left out, the same as channel 1")
    if len(chosen) < len(distinct):
        remarks.append(
            f"{_named(chosen)} taken of {len(distinct)}, the model takes {described(separator.takes)} (--channels)"
        )
    whole = chosen == tuple(range(header.channels))
    return Recording(path, header.sample_rate, samples, None if whole else chosen, tuple(remarks))


def _chosen(separator: Separator, heard: tuple[int, ...], rows: tuple[int, ...]) -> tuple[int, ...]:
    """Which of a file's channels are taken where nobody says it: those heard, as far as the separator can choose."""
    if _chooses(separator, len(heard)):
        return spread(heard, separator.takes[-1])
    return heard if len(heard) in separator.takes else rows


def _named(rows: Sequence[int]) -> str:
    return f"channel{'s' * (len(rows) > 1)} {', '.join(str(row + 1) for row in rows)}"


def spread(rows: Sequence[int], count: int) -> tuple[int, ...]:
    """So many of the rows, the first one first, evenly from all of them: on a circle they stay evenly apart.

    >>> spread(range(6), 4)
    (0, 1, 3, 4)
    """
    return tuple(rows[number * len(rows) // count] for number in range(count))


def parse_channels(text: str | Sequence[int] | None) -> list[int] | None:
    """Channel numbers, counted from 1, of `--channels`.

    >>> parse_channels("1,3")
    [1, 3]

    Raises:
        SepasrError: where they are no positive numbers.
    """
    if text is None:
        return None
    parts = text.split(",") if isinstance(text, str) else [str(part) for part in text]
    if not parts or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentError(f"--channels '{text}': expected numbers from 1, parted by commas, such as 1,3")
    return [int(part) for part in parts]


def _chooses(separator: Separator, there: int) -> bool:
    """Whether of so many channels some are taken: more than a separator of several numbers of microphones takes."""
    return len(separator.takes) > 1 and there >= separator.takes.stop


def _check_channels(separator: Separator, path: Path, there: int, taken: int | None) -> None:
    config, takes = separator.config, separator.takes
    if (there if taken is None else taken) in takes:
        return
    need = described(takes)
    number = f"{there} channel{'s' * (there != 1)}"
    if taken is not None:
        remedy = f"name {need} of the file's {number} with --channels"
        raise SepasrError(f"{path}: --channels names {taken}, the model needs {need}; {remedy}")
    choice = ",".join(str(index % there + 1) for index in range(config.microphones))
    if there > config.microphones:
        remedy = f"choose with --channels, such as --channels {choice}"
    else:
        remedy = (
            f"use a model of {there} microphone{'s' * (there != 1)} (--model), "
            f"or repeat channels at a loss of quality (--channels {choice})"
        )
    raise SepasrError(f"{path}: {number} found, the model needs {need}; {remedy}")
