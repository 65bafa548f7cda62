"""What is compared with what in one recording: its audio files, its transcripts, and their scores.

A worker process imports this file and computes one recording, so nothing here imports PyTorch.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.heap import keep_heap
from sepasr_cli.scoring.signals import SIGNAL_METRICS, SignalScore, score_signals
from sepasr_cli.transcripts import Segment

#: Seconds by which lengths may differ: a model's last window. What is longer is cut, and said so.
LENGTH_TOLERANCE = 0.05


@dataclass(frozen=True)
class SignalFiles:
    """Audio of one recording. Of the mixture, and of references with several channels, the `microphone` from 0 counts;
    of estimates the first.
    """

    id: str
    speakers: tuple[str, ...]
    references: tuple[Path, ...]
    estimates: tuple[Path, ...]
    #: What the estimates are called in records.
    names: tuple[str, ...]
    mixture: Path | None = None
    microphone: int = 0


@dataclass(frozen=True)
class SpokenTexts:
    """Transcripts of one recording."""

    id: str
    reference: tuple[Segment, ...]
    hypothesis: tuple[Segment, ...]


@dataclass(frozen=True)
class SignalsScored:
    """Scores of each speaker, in the order of the references, with the name of each one's estimate."""

    scores: tuple[SignalScore, ...]
    names: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()


def score_files(files: SignalFiles, metrics: Collection[str] = SIGNAL_METRICS) -> tuple[str, SignalsScored | str]:
    """A recording's id with its scores, or with the reason why there are none, as one line."""
    keep_heap()
    try:
        references, rate = _read(files.references, files.microphone)
        estimates, estimates_rate = _read(files.estimates, 0)
        mixture: list[audio.Audio] = []
        if files.mixture is not None:
            mixture, mixture_rate = _read([files.mixture], files.microphone)
            _same_rate(files.mixture, mixture_rate, files.references[0], rate)
        _same_rate(files.estimates[0], estimates_rate, files.references[0], rate)
        lengths = [len(signal) for signal in (*references, *estimates, *mixture)]
        shortest, longest = min(lengths), max(lengths)
        if longest - shortest > LENGTH_TOLERANCE * rate:
            paths = (*files.references, *files.estimates, *([files.mixture] if files.mixture else []))
            raise SepasrError(
                f"{paths[lengths.index(shortest)]} has {shortest} samples, {paths[lengths.index(longest)]} has "
                f"{longest}; expected equal lengths, within {1000 * LENGTH_TOLERANCE:g} ms"
            )
        before = _cut(mixture, shortest)[0] if mixture else None
        scores, order = score_signals(_cut(references, shortest), _cut(estimates, shortest), before, rate, metrics)
    except SepasrError as error:
        return files.id, f"{files.id}: {error}"
    note = f"signals of unequal length were cut, by {1000 * LENGTH_TOLERANCE:g} ms at most"
    return files.id, SignalsScored(
        tuple(scores),
        tuple(files.names[index] for index in order),
        fingerprint(*(signal.tobytes() for signal in references)),
        (note,) if longest > shortest else (),
    )


def _read(paths: Sequence[Path], microphone: int) -> tuple[list[audio.Audio], int]:
    """One channel of each file, all at one rate."""
    signals, rates = [], []
    for path in paths:
        samples, rate = audio.read(path)
        if 1 < len(samples) <= microphone:
            raise SepasrError(f"{path}: {len(samples)} channels found, number {microphone + 1} is asked for")
        signals.append(audio.channel(samples, microphone))
        rates.append(rate)
        _same_rate(path, rate, paths[0], rates[0])
    return signals, rates[0]


def _same_rate(path: Path, rate: int, other: Path, expected: int) -> None:
    if rate != expected:
        raise SepasrError(f"{path} is at {rate} Hz, {other} at {expected} Hz; resample one of them")


def _cut(signals: Sequence[audio.Audio], length: int) -> NDArray[np.float32]:
    return np.stack([signal[:length] for signal in signals]) if signals else np.empty((0, length), np.float32)
