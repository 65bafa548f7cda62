"""Recordings that fit a separator, read block by block. Letters: M microphone, N sample."""

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
    """A file whose audio was looked through and fits a separator; `rows` are the channels taken, all where None."""

    path: Path
    sample_rate: int
    samples: int
    rows: tuple[int, ...] | None = None

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
    _check_channels(separator, path, header.channels, None if channels is None else len(channels))
    if header.duration < SHORTEST:
        raise SepasrError(
            f"{path}: too short, {header.frames} samples at {header.sample_rate} Hz found, "
            f"expected at least {SHORTEST:g} s"
        )
    rows = None if channels is None else tuple(number - 1 for number in channels)
    samples, peak = 0, 0.0
    for block in audio.blocks(path):
        samples += block.shape[1]
        peak = max(peak, float(np.abs(block if rows is None else block[list(rows)]).max()))
    if not peak > SILENT:
        raise SepasrError(f"{path}: silent, no sample above {SILENT:g}; expected speech, check the recording")
    return Recording(path, header.sample_rate, samples, rows)


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
