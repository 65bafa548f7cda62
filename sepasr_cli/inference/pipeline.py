"""A recording in, one signal or one transcript a speaker out, whatever the file's rate, channels and length.

Letters: B batch, S speaker, M microphone, N sample.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls
from torch import Tensor

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.inference.long_form import separate_long
from sepasr_cli.joint import JointModel
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.recognizer import Hypothesis
from sepasr_cli.separation import Separator
from sepasr_cli.transcripts import Segment

#: Recordings shorter than this, in seconds, are refused.
SHORTEST = 0.1
#: A recording whose samples all stay below is silent (-100 dBFS).
SILENT = 1e-5
#: Highest peak of a separated signal.
PEAK = 0.999
#: Seconds separated and recognised at once, and shared by neighbouring windows of a longer recording.
WINDOW, OVERLAP = 20.0, 4.0


@dataclass(frozen=True)
class Recording:
    """A file made ready for a model: `audio` (M, N) at the model's rate; `sample_rate` and `samples` are the file's."""

    audio: Audio
    sample_rate: int
    samples: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate


class Pipeline:
    """A separator, or a joint model that transcribes as well, for recordings of any rate and length.

    Args:
        model: the model, on the device that computes.
        decoding: how transcripts are searched for.
        window: seconds separated and recognised at once; longer recordings are cut.
        overlap: seconds that two windows share at least.
        batch: windows at once.
        word_times: whether transcripts tell when each word was said.
    """

    def __init__(
        self,
        model: Separator | JointModel,
        decoding: DecodingConfig | None = None,
        window: float = WINDOW,
        overlap: float = OVERLAP,
        batch: int = 1,
        word_times: bool = False,
    ) -> None:
        self.model = model.eval()
        self.separator: Separator = model.separator if isinstance(model, JointModel) else model
        self.decoding = decoding or DecodingConfig()
        self.sample_rate = self.separator.config.sample_rate
        self.window, self.overlap = round(window * self.sample_rate), round(overlap * self.sample_rate)
        self.batch, self.word_times = batch, word_times
        self.device = next(model.parameters()).device

    @property
    def speakers(self) -> int:
        """How many signals the separator gives."""
        return self.separator.config.speakers

    @property
    def microphones(self) -> int:
        """How many microphones the separator was made for."""
        return self.separator.config.microphones

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the weights or the configuration."""
        digest = hashlib.sha256(self.model.config.model_dump_json().encode())
        for name, value in sorted(self.model.own_state().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def prepare(self, path: Path, channels: Sequence[int] | None = None) -> Recording:
        """Read a file and make it fit the model.

        Args:
            path: any file that soundfile reads.
            channels: the channels to take, counted from 1; all of them where None.

        Raises:
            SepasrError: where it cannot be read, is too short or silent, or its channels do not fit the model.
        """
        header = audio.info(path)
        if channels is not None and (wrong := [number for number in channels if not 1 <= number <= header.channels]):
            raise SepasrError(f"{path}: --channels asks for channel {wrong[0]}, the file has {header.channels}, from 1")
        self._check_channels(path, header.channels, None if channels is None else len(channels))
        if header.duration < SHORTEST:
            raise SepasrError(
                f"{path}: too short, {header.frames} samples at {header.sample_rate} Hz found, "
                f"expected at least {SHORTEST:g} s"
            )
        samples, rate = audio.read(path)
        if channels is not None:
            samples = samples[[number - 1 for number in channels]]
        if not np.abs(samples).max() > SILENT:
            raise SepasrError(f"{path}: silent, no sample above {SILENT:g}; expected speech, check the recording")
        return Recording(audio.resample(samples, rate, self.sample_rate), rate, samples.shape[1])

    def _check_channels(self, path: Path, there: int, taken: int | None) -> None:
        config = self.separator.config
        found = there if taken is None else taken
        exact = not self.separator.any_microphones
        if found == config.microphones or (not exact and found > config.reference_microphone):
            return
        need = f"{config.microphones}" if exact else f"at least {config.reference_microphone + 1}"
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

    def separate(self, recording: Recording) -> Audio:
        """One signal a speaker, (S, N), at the file's rate and of its length.

        The signals' levels are such that their sum explains the reference microphone; all are made quieter together
        where one would clip.

        Raises:
            SepasrError: where the model gives no finite signal.
        """
        streams = audio.resample(self._streams(recording).numpy(), self.sample_rate, recording.sample_rate)
        missing = max(recording.samples - streams.shape[1], 0)
        streams = np.pad(streams, ((0, 0), (0, missing)))[:, : recording.samples]
        return streams * np.float32(PEAK / max(float(np.abs(streams).max()), PEAK))

    def transcribe(self, recording: Recording, session: str) -> list[Segment]:
        """What each speaker says: one segment a speaker, several where the recording is longer than a window.

        Raises:
            SepasrError: where the model cannot transcribe, or gives no finite signal.
        """
        if not isinstance(self.model, JointModel):
            raise SepasrError(f"a {self.model.kind} only separates; transcribing takes a run or a joint model")
        if recording.audio.shape[1] <= self.window:
            mixture = torch.from_numpy(recording.audio)[None].to(self.device)
            found, estimates = self.model.transcribe(mixture, decoding=self.decoding, word_times=self.word_times)
            _check_finite(estimates)
            return [
                _segment(session, speaker, 0.0, recording.duration, hypothesis)
                for speaker, hypothesis in enumerate(found[0], 1)
            ]
        segments = []
        for speaker, stream in enumerate(self._streams(recording), 1):
            for start, end in pieces(stream.numpy(), self.window, self.sample_rate):
                piece = stream[None, start:end].to(self.device)
                length = torch.tensor([end - start], device=self.device)
                said = self.model.recognizer.transcribe(piece, length, self.decoding, word_times=self.word_times)[0]
                last = min(end / self.sample_rate, recording.duration)
                segments.append(_segment(session, speaker, start / self.sample_rate, last, said))
        return sorted(segments, key=lambda segment: (segment.start_time, segment.speaker))

    @torch.inference_mode()
    def _streams(self, recording: Recording) -> Tensor:
        """The speakers' signals (S, N) at the model's rate, in memory of the CPU."""
        return separate_long(
            self._separate_windows, torch.from_numpy(recording.audio), self.window, self.overlap, self.batch
        )

    def _separate_windows(self, mixture: Tensor) -> Tensor:
        """Windows (B, M, N) to (B, S, N) at levels that explain them, so that neighbours can be compared."""
        estimates = self.separator(mixture.to(self.device)).float().cpu()
        _check_finite(estimates)
        at = self.separator.config.reference_microphone
        fitted = [
            explain(streams.numpy(), reference.numpy())
            for streams, reference in zip(estimates, mixture[:, at], strict=True)
        ]
        return torch.from_numpy(np.stack(fitted))


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


def explain(streams: NDArray[np.float32], mixture: NDArray[np.float32]) -> Audio:
    """Scale signals (S, N), whose levels and signs mean nothing, so that their sum explains the mixture (N,).

    The gains are those of least squares, found together and none below a tenth of the gain common to all. A small
    pull towards that common gain keeps signals far below the others from being blown up to explain what is left.
    """
    signals, target = streams.astype(np.float64), mixture.astype(np.float64)
    signals *= np.where(signals @ target < 0, -1.0, 1.0)[:, None]
    energy, match = signals @ signals.T, signals @ target
    whole = float(energy.sum())
    common = float(match.sum()) / whole if whole > 0 else 0.0
    if not (np.isfinite(common) and common > 0):
        return streams
    floor, pull = 0.1 * common, 1e-5 * float(np.trace(energy)) / len(signals)
    lower = cholesky(energy + pull * np.eye(len(signals)), lower=True)
    wanted = match + pull * common - (energy.sum(1) + pull) * floor
    above, _ = nnls(lower.T, solve_triangular(lower, wanted, lower=True))
    return np.asarray((above + floor)[:, None] * signals, np.float32)


def pieces(signal: NDArray[np.floating], longest: int, sample_rate: int) -> list[tuple[int, int]]:
    """Cut a signal (N,) where it is quietest into parts of at most `longest` samples; silent parts are left out.

    >>> pieces(np.r_[np.ones(700), np.zeros(100), np.ones(500)], 1000, 1000)
    [(0, 740), (740, 1300)]
    """
    step = max(sample_rate // 50, 1)
    padded = np.pad(signal.astype(np.float64), (0, -len(signal) % step))
    energy = np.square(padded).reshape(-1, step).mean(1)
    smooth = np.convolve(energy, np.ones(5) / 5, mode="same")
    edges = [0]
    while len(signal) - edges[-1] > longest:
        first, last = (edges[-1] + longest // 2) // step, (edges[-1] + longest) // step
        edges.append((first + int(np.argmin(smooth[first:last]))) * step)
    bounds = zip(edges, [*edges[1:], len(signal)], strict=True)
    # 50 dB below the loudest moment nothing is said.
    audible = max(1e-5 * float(energy.max()), SILENT**2)
    return [(start, end) for start, end in bounds if energy[start // step : -(-end // step)].max() > audible]


def _segment(session: str, speaker: int, start: float, end: float, said: Hypothesis) -> Segment:
    """What was said in the part of a recording that begins at `start` seconds, its words' times included."""
    times = (
        None
        if said.word_times is None
        else tuple((round(start + a, 3), round(start + b, 3)) for a, b in said.word_times)
    )
    return Segment(
        session_id=session,
        speaker=f"spk{speaker}",
        start_time=round(start, 3),
        end_time=round(end, 3),
        words=said.text,
        word_times=times,
        word_confidences=said.word_confidences,
    )


def _check_finite(estimates: Tensor) -> None:
    if not torch.isfinite(estimates).all():
        raise SepasrError("the model gave NaN or infinite samples; its training went wrong, use other weights")
