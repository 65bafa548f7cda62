"""Batches by number: what a training step sees depends on the seed and its number alone.

Letters: B batch, S speaker, M microphone, N sample, U token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from sepasr_cli import audio
from sepasr_cli.corpora import read_speech
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Reference, Utterance, read_manifest
from sepasr_cli.randomness import generator
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.simulation.rendering import Rendered, mix_on_the_fly
from sepasr_cli.simulation.responses import ResponseBank

Samples = NDArray[np.float32]

#: Marks the end of a target shorter than its batch's longest.
PADDING = -1


class Movable:
    """A batch that goes to a device as a whole."""

    def to(self, device: torch.device) -> Self:
        """The same batch with its tensors on `device`."""
        moved = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        return type(self)(
            **{key: value.to(device) if isinstance(value, Tensor) else value for key, value in moved.items()}
        )


@dataclass(frozen=True)
class MixtureBatch(Movable):
    """Mixtures with their references.

    mixture (B, M, N), lengths (B,) in samples, references (B, S, N), noise (B, N): what the reference microphone
    hears beside them; targets (B, S, U) and target_lengths (B, S) where there are transcripts and a vocabulary.
    """

    ids: list[str]
    mixture: Tensor
    lengths: Tensor
    references: Tensor
    noise: Tensor
    targets: Tensor | None = None
    target_lengths: Tensor | None = None


@dataclass(frozen=True)
class SpeechBatch(Movable):
    """Single-speaker speech: audio (B, N), lengths (B,) in samples, targets (B, U), target_lengths (B,)."""

    ids: list[str]
    audio: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor


class Schedule:
    """Which examples make up batch number n: every example once an epoch, in an order drawn for the epoch.

    With `bucket`, examples of like length come together, so that little is padded.

    >>> schedule = Schedule([1.0, 2.0, 3.0, 4.0], batch_size=2, seed=0)
    >>> sorted(schedule(0)[1] + schedule(1)[1]), schedule(5)[0]
    ([0, 1, 2, 3], 2)
    """

    def __init__(self, durations: Sequence[float], batch_size: int, seed: int, bucket: bool = True) -> None:
        self.durations, self.batch_size, self.seed, self.bucket = durations, batch_size, seed, bucket
        self.batches_an_epoch = ceil(len(durations) / batch_size)
        self._drawn: tuple[int, list[list[int]]] | None = None

    def __call__(self, number: int) -> tuple[int, list[int]]:
        """The epoch of a batch, and the indices of its examples."""
        epoch, position = divmod(number, self.batches_an_epoch)
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(epoch)
        return epoch, self._drawn[1][position]

    def _draw(self, epoch: int) -> list[list[int]]:
        rng = generator(self.seed, "epoch", epoch)
        order = [int(index) for index in rng.permutation(len(self.durations))]
        if self.bucket:
            pool = 20 * self.batch_size
            pools = [order[start : start + pool] for start in range(0, len(order), pool)]
            order = [index for part in pools for index in sorted(part, key=lambda index: self.durations[index])]
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return [batches[int(index)] for index in rng.permutation(len(batches))]


@dataclass(frozen=True)
class _Example:
    """One mixture in memory: mixture (M, N), references (S, N), the reference microphone (N,), transcripts."""

    id: str
    mixture: Samples
    references: Samples
    heard: Samples
    texts: tuple[str | None, ...]

    def cut(self, start: int, length: int) -> "_Example":
        part = slice(start, start + length)
        return _Example(self.id, self.mixture[:, part], self.references[:, part], self.heard[part], self.texts)

    def heard_by(self, count: int, rng: np.random.Generator) -> "_Example":
        """With the first microphone and drawn others, `count` in all, at the front, and zeros behind them."""
        others = rng.choice(np.arange(1, len(self.mixture)), size=count - 1, replace=False)
        mixture = np.zeros_like(self.mixture)
        mixture[:count] = self.mixture[[0, *sorted(others)]]
        return replace(self, mixture=mixture)

    @property
    def noise(self) -> Samples:
        return self.heard - self.references.sum(axis=0)


class SimulatedMixtures:
    """Batches of the mixtures of a manifest, whole or in segments."""

    def __init__(
        self,
        manifest: Path,
        *,
        reference: Reference,
        microphones: int,
        batch_size: int,
        seed: int,
        segment_seconds: float | None = None,
        vocabulary: Vocabulary | None = None,
        limit: int | None = None,
    ) -> None:
        self.folder = manifest.parent
        self.mixtures = read_manifest(manifest, Mixture)[:limit]
        if vocabulary is not None:
            self.mixtures = [mixture for mixture in self.mixtures if all(source.text for source in mixture.sources)]
        if not self.mixtures:
            what = "mixtures that have transcripts; add a corpus that has them" if vocabulary else "mixtures; make some"
            raise SepasrError(f"{manifest}: holds no {what} and run `sepasr simulate` again")
        self.reference, self.microphones, self.seed = reference, microphones, seed
        self.segment_seconds, self.vocabulary = segment_seconds, vocabulary
        self.schedule = Schedule(
            [mixture.duration for mixture in self.mixtures], batch_size, seed, bucket=segment_seconds is None
        )

    def __call__(self, number: int) -> MixtureBatch:
        """Batch `number` of the training."""
        epoch, indices = self.schedule(number)
        return collate_mixtures([self._example(index, epoch) for index in indices], self.vocabulary)

    def in_order(self, batch_size: int) -> list[Callable[[], MixtureBatch]]:
        """Makers of batches of all mixtures, whole, those of like length together: for validation."""
        order = sorted(range(len(self.mixtures)), key=lambda index: self.mixtures[index].duration)
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return [partial(self._whole, part) for part in parts]

    def _whole(self, indices: list[int]) -> MixtureBatch:
        return collate_mixtures([self._example(index, None) for index in indices], self.vocabulary)

    def _example(self, index: int, epoch: int | None) -> _Example:
        mixture = self.mixtures[index]
        start, end = 0.0, None
        if self.segment_seconds is not None and epoch is not None and mixture.duration > self.segment_seconds:
            rng = generator(self.seed, "segment", epoch, mixture.id)
            rate = mixture.sample_rate
            first = int(rng.integers(round((mixture.duration - self.segment_seconds) * rate) + 1))
            start, end = first / rate, first / rate + self.segment_seconds
        samples = self._read(mixture, mixture.audio, start, end)
        if len(samples) < self.microphones:
            raise SepasrError(
                f"{self.folder / mixture.audio}: {len(samples)} channel{'s' * (len(samples) != 1)} found, "
                f"the model takes {self.microphones}; set separation.microphones"
            )
        references = []
        for source in mixture.sources:
            name = getattr(source, self.reference)
            if name is None:
                raise SepasrError(
                    f"mixture {mixture.id}: has no '{self.reference}' reference; add it to simulation.references"
                )
            heard = self._read(mixture, name, start, end)
            references.append(audio.channel(heard, mixture.reference_microphone))
            if len(references[-1]) != samples.shape[1]:
                raise SepasrError(
                    f"{self.folder / name}: {len(references[-1])} samples found, the mixture has {samples.shape[1]}; "
                    "expected the same length, run `sepasr simulate --restart`"
                )
        texts = tuple(source.text for source in mixture.sources)
        return _Example(
            mixture.id, samples[: self.microphones], np.stack(references), samples[mixture.reference_microphone], texts
        )

    def _read(self, mixture: Mixture, name: str, start: float, end: float | None) -> Samples:
        samples, rate = audio.read(self.folder / name, start, end)
        if rate != mixture.sample_rate:
            raise SepasrError(
                f"{self.folder / name}: sample rate {rate} Hz, the manifest says {mixture.sample_rate} Hz; "
                "run `sepasr simulate --restart`"
            )
        return samples


class DynamicMixtures:
    """Batches mixed while training: every mixture is new, from utterances and a bank of room responses."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        bank: ResponseBank,
        simulation: SimulationConfig,
        *,
        reference: Reference,
        microphones: int,
        batch_size: int,
        seed: int,
        sample_rate: int,
        segment_seconds: float | None = None,
        vocabulary: Vocabulary | None = None,
        speeds: Sequence[float] = (1.0,),
        microphone_counts: Sequence[int] = (),
    ) -> None:
        if vocabulary is not None:
            utterances = [utterance for utterance in utterances if utterance.text]
        self.by_speaker: dict[str, list[Utterance]] = {}
        for utterance in sorted(utterances, key=lambda utterance: utterance.id):
            self.by_speaker.setdefault(utterance.speaker, []).append(utterance)
        if len(self.by_speaker) < simulation.speakers:
            raise SepasrError(
                f"dynamic mixing: {len(self.by_speaker)} speakers found, expected at least {simulation.speakers}; "
                "add a corpus to corpora.train"
            )
        self.bank, self.simulation, self.reference, self.microphones = bank, simulation, reference, microphones
        self.batch_size, self.seed, self.sample_rate = batch_size, seed, sample_rate
        self.segment_seconds, self.vocabulary, self.speeds = segment_seconds, vocabulary, tuple(speeds)
        self.microphone_counts = tuple(microphone_counts)

    def __call__(self, number: int) -> MixtureBatch:
        """Batch `number` of the training."""
        examples = [self._example(number * self.batch_size + position) for position in range(self.batch_size)]
        return collate_mixtures(examples, self.vocabulary)

    def _example(self, number: int) -> _Example:
        rng = generator(self.seed, "dynamic", number)
        speakers = list(self.by_speaker)
        # A speaker is drawn by what there is of them, so that every utterance is heard as often.
        share = np.array([len(self.by_speaker[speaker]) for speaker in speakers], float)
        chosen = rng.choice(len(speakers), size=self.simulation.speakers, replace=False, p=share / share.sum())
        spoken = [self.by_speaker[speakers[index]] for index in chosen]
        utterances = [own[int(rng.integers(len(own)))] for own in spoken]
        signals = [self._signal(utterance, rng) for utterance in utterances]
        rendered = mix_on_the_fly(self.simulation, rng, signals, self.bank, self.sample_rate)
        example = _as_example(
            f"dynamic {number} ({', '.join(utterance.id for utterance in utterances)})",
            rendered,
            self.reference,
            self.microphones,
            self.simulation.reference_microphone,
            tuple(utterance.text for utterance in utterances),
        )
        if self.microphone_counts:
            # From a stream of its own, so that the same mixtures are drawn with and without it.
            counted = generator(self.seed, "microphones", number)
            example = example.heard_by(int(counted.choice(self.microphone_counts)), counted)
        if self.segment_seconds is None:
            return example
        length = round(self.segment_seconds * self.sample_rate)
        spare = example.mixture.shape[1] - length
        return example.cut(int(rng.integers(spare + 1)), length) if spare > 0 else example

    def _signal(self, utterance: Utterance, rng: np.random.Generator) -> Samples:
        signal = change_speed(read_speech(utterance, self.sample_rate), float(rng.choice(self.speeds)))
        if self.segment_seconds is not None:
            # No more than a segment of it is rendered, with what rings into it from before.
            keep = round((self.segment_seconds + 0.25) * self.sample_rate)
            start = int(rng.integers(max(len(signal) - keep, 0) + 1))
            signal = signal[start : start + keep]
        return signal


def _as_example(
    name: str, rendered: Rendered, reference: Reference, microphones: int, at: int, texts: tuple[str | None, ...]
) -> _Example:
    return _Example(
        name,
        rendered.mixture[:microphones],
        getattr(rendered, reference),
        rendered.mixture[at],
        texts,
    )


@dataclass(frozen=True)
class LabelledSpeech:
    """Something to recognise: an utterance of a corpus, or a reference signal of a simulated mixture."""

    id: str
    text: str
    duration: float
    read: Callable[[], Samples]


def corpus_speech(utterances: Sequence[Utterance], sample_rate: int) -> list[LabelledSpeech]:
    """The utterances that have a transcript."""
    return [
        LabelledSpeech(utterance.id, utterance.text, utterance.duration, partial(read_speech, utterance, sample_rate))
        for utterance in utterances
        if utterance.text
    ]


def reference_speech(manifest: Path, reference: Reference | Literal["mixture"]) -> list[LabelledSpeech]:
    """The reference signals of a manifest's sources that have a transcript, each cut to where its speaker talks."""
    found = []
    for mixture in read_manifest(manifest, Mixture):
        for index, source in enumerate(mixture.sources):
            name = getattr(source, reference)
            if source.text and name:
                at = mixture.reference_microphone
                read = partial(_read_source, manifest.parent / name, at, source.start, source.end)
                found.append(LabelledSpeech(f"{mixture.id}/{index}", source.text, source.end - source.start, read))
    return found


def _read_source(path: Path, microphone: int, start: float, end: float) -> Samples:
    return audio.channel(audio.read(path, start, end)[0], microphone)


class Speech:
    """Batches of single-speaker speech for the recogniser."""

    def __init__(
        self,
        speech: Sequence[LabelledSpeech],
        vocabulary: Vocabulary,
        *,
        batch_size: int,
        seed: int,
        speeds: Sequence[float] = (1.0,),
    ) -> None:
        if not speech:
            raise SepasrError("no speech with transcripts to train the recogniser on; add a corpus that has them")
        self.speech, self.vocabulary, self.seed, self.speeds = list(speech), vocabulary, seed, tuple(speeds)
        self.schedule = Schedule([item.duration for item in self.speech], batch_size, seed)

    def __call__(self, number: int) -> SpeechBatch:
        """Batch `number` of the training."""
        epoch, indices = self.schedule(number)
        items = [self.speech[index] for index in indices]
        drawn = [generator(self.seed, "speed", epoch, item.id).choice(self.speeds) for item in items]
        return self._collate(items, [float(speed) for speed in drawn])

    def in_order(self, batch_size: int) -> list[Callable[[], SpeechBatch]]:
        """Makers of batches of all speech, those of like length together: for validation."""
        order = sorted(self.speech, key=lambda item: item.duration)
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return [partial(self._collate, part, [1.0] * len(part)) for part in parts]

    def _collate(self, items: list[LabelledSpeech], speeds: list[float]) -> SpeechBatch:
        signals = [change_speed(item.read(), speed) for item, speed in zip(items, speeds, strict=True)]
        targets, target_lengths = _pad_tokens([self.vocabulary.encode(item.text) for item in items])
        return SpeechBatch(
            [item.id for item in items],
            torch.from_numpy(_pad(signals)),
            torch.tensor([len(signal) for signal in signals]),
            targets,
            target_lengths,
        )


def collate_mixtures(examples: Sequence[_Example], vocabulary: Vocabulary | None) -> MixtureBatch:
    """Pad examples at their ends and stack them."""
    lengths = torch.tensor([example.mixture.shape[1] for example in examples])
    targets = target_lengths = None
    if vocabulary is not None:
        speakers = len(examples[0].texts)
        flat, flat_lengths = _pad_tokens(
            [vocabulary.encode(text or "") for example in examples for text in example.texts]
        )
        targets = flat.unflatten(0, (len(examples), speakers))
        target_lengths = flat_lengths.unflatten(0, (len(examples), speakers))
    return MixtureBatch(
        [example.id for example in examples],
        torch.from_numpy(_pad([example.mixture for example in examples])),
        lengths,
        torch.from_numpy(_pad([example.references for example in examples])),
        torch.from_numpy(_pad([example.noise for example in examples])),
        targets,
        target_lengths,
    )


def change_speed(signal: Samples, speed: float) -> Samples:
    """Play a signal faster or slower, pitch and all; `speed` is rounded to hundredths."""
    return signal if speed == 1.0 else audio.resample(signal, round(100 * speed), 100)


def _pad(arrays: Sequence[Samples]) -> Samples:
    longest = max(array.shape[-1] for array in arrays)
    return np.stack(
        [np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, longest - array.shape[-1])]) for array in arrays]
    ).astype(np.float32)


def _pad_tokens(tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(ids) for ids in tokens])
    targets = torch.full((len(tokens), max(int(lengths.max()), 1)), PADDING)
    for row, ids in zip(targets, tokens, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return targets, lengths
