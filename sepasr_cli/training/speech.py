"""Single-speaker speech to learn from. Letters: B batch, N sample, U token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from sepasr_cli import audio
from sepasr_cli.corpora import read_speech
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Reference, Utterance, read_manifest
from sepasr_cli.randomness import generator
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.training.data import Movable, Samples, Schedule, by_length, change_speed, pad, pad_tokens

#: As the corpus has it; a reference signal of a mixture that it is in; what a separator made of that.
SpeechKind: TypeAlias = Literal["corpus", Reference, "separated"]


@dataclass(frozen=True)
class SpeechBatch(Movable):
    """Single-speaker speech: audio (B, N), lengths (B,) in samples, targets (B, U), target_lengths (B,)."""

    ids: list[str]
    audio: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor


@dataclass(frozen=True)
class LabelledSpeech:
    """Something to recognise: an utterance of a corpus, or a source of a simulated mixture."""

    id: str
    speaker: str
    text: str
    duration: float
    read: Callable[[], Samples]
    kind: SpeechKind = "corpus"


#: What is put in the place of an utterance in an epoch.
Splice: TypeAlias = Callable[[LabelledSpeech, int], LabelledSpeech]


def corpus_speech(utterances: Sequence[Utterance], sample_rate: int, *, unread: bool = False) -> list[LabelledSpeech]:
    """The utterances that have a transcript; where `unread`, the others as well, with an empty one."""
    return [
        LabelledSpeech(
            utterance.id,
            utterance.speaker,
            utterance.text or "",
            utterance.duration,
            partial(read_speech, utterance, sample_rate),
        )
        for utterance in utterances
        if utterance.text or unread
    ]


def reference_speech(manifest: Path, reference: Reference) -> list[LabelledSpeech]:
    """The reference signals of a manifest's sources that have a transcript, each cut to where its speaker talks."""

    def signal(mixture: Mixture, index: int) -> Path | None:
        name = getattr(mixture.sources[index], reference)
        return manifest.parent / name if name else None

    return source_speech(manifest, reference, signal)


def source_speech(
    manifest: Path, kind: SpeechKind, signal: Callable[[Mixture, int], Path | None]
) -> list[LabelledSpeech]:
    """The sources of a manifest that have a transcript, each cut to where its speaker talks.

    Args:
        manifest: of mixtures.
        kind: of the signals.
        signal: the file with a mixture's source of that index, as long as the mixture; None where there is none.
    """
    found = []
    for mixture in read_manifest(manifest, Mixture):
        for index, source in enumerate(mixture.sources):
            path = signal(mixture, index)
            if source.text and path is not None:
                read = partial(_read_source, path, mixture.reference_microphone, source.start, source.end)
                name, duration = f"{mixture.id}/{index}", source.end - source.start
                found.append(LabelledSpeech(name, source.speaker, source.text, duration, read, kind))
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
        self.splice: Splice | None = None

    def __call__(self, number: int) -> SpeechBatch:
        """Batch `number` of the training."""
        epoch, indices = self.schedule(number)
        items = [self.speech[index] for index in indices]
        if self.splice is not None:
            items = [self.splice(item, epoch) for item in items]
        drawn = [generator(self.seed, "speed", epoch, item.id).choice(self.speeds) for item in items]
        return self._collate(items, [float(speed) for speed in drawn])

    def in_order(self, batch_size: int) -> list[Callable[[], SpeechBatch]]:
        """Makers of batches of all speech, those of like length together: for validation."""
        parts = by_length(self.speech, lambda item: item.duration, batch_size)
        return [partial(self._collate, part, [1.0] * len(part)) for part in parts]

    def _collate(self, items: list[LabelledSpeech], speeds: list[float]) -> SpeechBatch:
        signals = [change_speed(item.read(), speed) for item, speed in zip(items, speeds, strict=True)]
        targets, target_lengths = pad_tokens([self.vocabulary.encode(item.text) for item in items])
        return SpeechBatch(
            [item.id for item in items],
            torch.from_numpy(pad(signals)),
            torch.tensor([len(signal) for signal in signals]),
            targets,
            target_lengths,
        )
