"""New utterances made of a speaker's own words.

After T. K. Lam, M. Ohta, S. Schamoni, S. Riezler, "On-the-Fly Aligned Data Augmentation for Sequence-to-Sequence ASR"
(Interspeech 2021), whose words come from any speaker. Few sentences are soon known by heart; their words in another
order are not. Where each word lies, the recogniser in training finds out by forced alignment.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_json, write_text
from sepasr_cli.randomness import generator
from sepasr_cli.training.data import Samples
from sepasr_cli.training.speech import LabelledSpeech, SpeechKind

#: Seconds around a word that are taken with it and faded, and of the longest pause put between two.
MARGIN, FADE, PAUSE = 0.02, 0.01, 0.25

Times = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class _Word:
    text: str
    spoken_in: LabelledSpeech
    start: float
    end: float
    #: Where the first word of its utterance begins: what is before is background.
    speech: float


class Splices:
    """Puts utterances of a speaker's words, in an order of their own, in the place of a share of the utterances.

    Args:
        speech: what the words are taken from; those of one kind (`LabelledSpeech.kind`) go together.
        times: start and end of each word in seconds, by the id of what it is spoken in; what is not there is not used.
        share: of the utterances that have word times.
        seed: decides, with an utterance's id and the epoch, what is put in its place.
        sample_rate: in Hz.
    """

    def __init__(
        self, speech: Sequence[LabelledSpeech], times: Times, *, share: float, seed: int, sample_rate: int
    ) -> None:
        self.times, self.share, self.seed, self.sample_rate = times, share, seed, sample_rate
        self.words: dict[tuple[str, SpeechKind], list[_Word]] = {}
        for item in speech:
            found = times.get(item.id, [])
            parts = zip(item.text.split(), found, strict=False)
            own = [_Word(text, item, start, end, found[0][0]) for text, (start, end) in parts]
            self.words.setdefault((item.speaker, item.kind), []).extend(own)
        counts = Counter(word.text for own in self.words.values() for word in own)
        #: Rare words come more often than they are spoken.
        self.weights = {
            voice: np.array([counts[word.text] ** -0.5 for word in own]) for voice, own in self.words.items()
        }

    def __call__(self, item: LabelledSpeech, epoch: int) -> LabelledSpeech:
        """The utterance itself, or one of about as many words of its speaker."""
        rng, voice = generator(self.seed, "splice", epoch, item.id), (item.speaker, item.kind)
        if voice not in self.words or item.id not in self.times or rng.random() >= self.share:
            return item
        own, weights = self.words[voice], self.weights[voice]
        count = len(item.text.split()) + int(rng.integers(3))
        words = [own[index] for index in rng.choice(len(own), size=count, p=weights / weights.sum())]
        pieces = []
        for word in words:
            samples = word.spoken_in.read()
            pieces += [self._pause(samples, word, rng), self._cut(samples, word.start - MARGIN, word.end + MARGIN)]
        spliced = np.concatenate(pieces)
        text = " ".join(word.text for word in words)
        return replace(item, text=text, duration=len(spliced) / self.sample_rate, read=lambda: spliced)

    def _pause(self, samples: Samples, word: _Word, rng: np.random.Generator) -> Samples:
        """A drawn part of the background from the beginning of the utterance that the word is spoken in."""
        return self._cut(samples, 0, min(rng.uniform(0, PAUSE), max(word.speech - MARGIN, 0)))

    def _cut(self, samples: Samples, start: float, end: float) -> Samples:
        cut = samples[round(max(start, 0) * self.sample_rate) : round(end * self.sample_rate)].copy()
        fade = min(round(FADE * self.sample_rate), len(cut) // 2)
        slope = np.linspace(0, 1, fade, dtype=np.float32)
        cut[:fade] *= slope
        cut[len(cut) - fade :] *= slope[::-1]
        return cut


def save_times(path: Path, times: Times) -> None:
    """Keep word times, so that a training goes on with those it had."""
    write_text(path, json.dumps({name: [[round(t, 3) for t in word] for word in own] for name, own in times.items()}))


def load_times(path: Path) -> Times:
    """What `save_times` wrote.

    Raises:
        SepasrError: where the file is damaged.
    """
    remedy = "remove it and run the command again"
    try:
        read = read_json(path, remedy)
        return {name: [(float(start), float(end)) for start, end in own] for name, own in read.items()}
    except (TypeError, ValueError):
        raise SepasrError(f"{path}: holds no word times; {remedy}") from None
