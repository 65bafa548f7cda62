"""Mixtures to learn from: those of a manifest, or mixed anew for every step.

Letters: B batch, S speaker, M microphone, N sample, U token.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Reference, Utterance, read_manifest
from sepasr_cli.randomness import generator
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.simulation.rendering import Rendered, mix_on_the_fly
from sepasr_cli.simulation.responses import ResponseBank
from sepasr_cli.training.data import Movable, Samples, Schedule, by_length, change_speed, pad, pad_tokens
from sepasr_cli.training.speech import LabelledSpeech, Splice, corpus_speech


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
        microphone_counts: Sequence[int] = (),
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
        self.microphone_counts = tuple(microphone_counts)
        self.schedule = Schedule(
            [mixture.duration for mixture in self.mixtures], batch_size, seed, bucket=segment_seconds is None
        )

    def __call__(self, number: int) -> MixtureBatch:
        """Batch `number` of the training."""
        epoch, indices = self.schedule(number)
        return collate_mixtures([self._example(index, epoch) for index in indices], self.vocabulary)

    def in_order(self, batch_size: int) -> list[Callable[[], MixtureBatch]]:
        """Makers of batches of all mixtures, whole, those of like length together: for validation.

        The numbers of microphones that are drawn in training take turns here.
        """
        return [partial(self.whole, part) for part in self.parts(range(len(self.mixtures)), batch_size)]

    def parts(self, indices: Iterable[int], batch_size: int) -> list[list[int]]:
        """The mixtures at these indices in batches, those of like length together."""
        return by_length(indices, lambda index: self.mixtures[index].duration, batch_size)

    def whole(self, indices: list[int]) -> MixtureBatch:
        """A batch of the mixtures at these indices, as validation hears them."""
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
        example = _Example(
            mixture.id, samples[: self.microphones], np.stack(references), samples[mixture.reference_microphone], texts
        )
        if not self.microphone_counts:
            return example
        counts, rng = self.microphone_counts, generator(self.seed, "microphones", epoch, mixture.id)
        return example.heard_by(counts[index % len(counts)] if epoch is None else int(rng.choice(counts)), rng)

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
        splice: Splice | None = None,
    ) -> None:
        spoken = corpus_speech(utterances, sample_rate, unread=vocabulary is None)
        self.by_speaker: dict[str, list[LabelledSpeech]] = {}
        for item in sorted(spoken, key=lambda item: item.id):
            self.by_speaker.setdefault(item.speaker, []).append(item)
        if len(self.by_speaker) < simulation.speakers:
            raise SepasrError(
                f"dynamic mixing: {len(self.by_speaker)} speakers found, expected at least {simulation.speakers}; "
                "add a corpus to corpora.train"
            )
        self.bank, self.simulation, self.reference, self.microphones = bank, simulation, reference, microphones
        self.batch_size, self.seed, self.sample_rate = batch_size, seed, sample_rate
        self.segment_seconds, self.vocabulary, self.speeds = segment_seconds, vocabulary, tuple(speeds)
        self.microphone_counts, self.splice = tuple(microphone_counts), splice

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
        items = [own[int(rng.integers(len(own)))] for own in spoken]
        if self.splice is not None:
            items = [self.splice(item, number) for item in items]
        signals = [self._signal(item, rng) for item in items]
        rendered = mix_on_the_fly(self.simulation, rng, signals, self.bank, self.sample_rate)
        example = _as_example(
            f"dynamic {number} ({', '.join(item.id for item in items)})",
            rendered,
            self.reference,
            self.microphones,
            self.simulation.reference_microphone,
            tuple(item.text for item in items),
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

    def _signal(self, item: LabelledSpeech, rng: np.random.Generator) -> Samples:
        signal = change_speed(item.read(), float(rng.choice(self.speeds)))
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


def collate_mixtures(examples: Sequence[_Example], vocabulary: Vocabulary | None) -> MixtureBatch:
    """Pad examples at their ends and stack them."""
    lengths = torch.tensor([example.mixture.shape[1] for example in examples])
    targets = target_lengths = None
    if vocabulary is not None:
        speakers = len(examples[0].texts)
        flat, flat_lengths = pad_tokens(
            [vocabulary.encode(text or "") for example in examples for text in example.texts]
        )
        targets = flat.unflatten(0, (len(examples), speakers))
        target_lengths = flat_lengths.unflatten(0, (len(examples), speakers))
    return MixtureBatch(
        [example.id for example in examples],
        torch.from_numpy(pad([example.mixture for example in examples])),
        lengths,
        torch.from_numpy(pad([example.references for example in examples])),
        torch.from_numpy(pad([example.noise for example in examples])),
        targets,
        target_lengths,
    )
