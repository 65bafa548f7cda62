"""How far word times are from known cuts: `python benchmarks/word_times.py RUN`, a run whose recogniser is trained.

Utterances of the run's test corpora are cut to their speech and put, alone or in threes, between silences of known
length (none among them) with noise 45 dB below the peak. They are recognised as `transcribe --word-times` does. The
start of an utterance's first word and the end of its last one should be the cuts. Words that were recognised wrong are
left out; `given words` aligns the transcript itself, and `spikes` takes the CTC spikes as they are. Rows hold mean
absolute errors in seconds; the peer is what is allowed.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measure import Row, parser, prepared, report
from numpy.typing import NDArray

from sepasr_cli import audio
from sepasr_cli.corpora import read_corpora
from sepasr_cli.manifest import Utterance
from sepasr_cli.randomness import generator
from sepasr_cli.recognition import Hypothesis, Recognizer
from sepasr_cli.recognition.alignment import align, levels
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.rundir import RunDir

GAPS = (0.0, 0.1, 0.3, 0.6)
NOISE_DB = -45.0
#: Speech is at most this many decibels below the loudest 10 ms of a recording, for 50 ms at least. Breath and clicks,
#: and the faint beginnings of some words, are cut off: what is left begins and ends with a word.
BELOW, SHORTEST = 22.0, 5
#: Mean error that is allowed, in seconds.
ALLOWED = 0.06

Times = Sequence[tuple[float, float]]


class Joined(NamedTuple):
    """Utterances in one signal (N,): their words, and their cuts in seconds."""

    signal: NDArray[np.float32]
    texts: list[str]
    cuts: list[tuple[float, float]]


def speech_of(utterance: Utterance, rate: int) -> NDArray[np.float32]:
    """An utterance without what lies before and after its speech, at a peak of 0.3."""
    samples, _ = audio.read(utterance.audio, utterance.start, utterance.end)
    level = levels(samples[0], rate)
    loud = level > level.max() - BELOW
    changes = np.flatnonzero(np.diff(np.concatenate(([0], loud, [0]))))
    long = [(start, end) for start, end in changes.reshape(-1, 2) if end - start >= SHORTEST]
    size = rate // 100
    speech = samples[0, long[0][0] * size : long[-1][1] * size]
    return 0.3 * speech / np.abs(speech).max()


def join(utterances: Sequence[Utterance], rate: int, draw: np.random.Generator) -> Joined:
    """Utterances one after the other, silences between them, before and after."""
    parts, cuts, at = [], [], 0
    for utterance in utterances:
        silence, speech = np.zeros(round(draw.choice(GAPS) * rate)), speech_of(utterance, rate)
        start = at + len(silence)
        at = start + len(speech)
        parts += [silence, speech]
        cuts.append((start / rate, at / rate))
    signal = np.concatenate([*parts, np.zeros(round(max(GAPS) * rate))])
    signal += 0.3 * 10 ** (NOISE_DB / 20) * draw.standard_normal(len(signal))
    return Joined(signal.astype(np.float32), [utterance.text or "" for utterance in utterances], cuts)


def errors(joined: Joined, words: Sequence[str], times: Times) -> Iterator[tuple[str, float]]:
    """How late the outer edges of an utterance are where its first or last word was recognised.

    The word beside it must have been recognised too: a lone letter may be found anywhere by chance.
    """
    reference = [word for text in joined.texts for word in text.split()]
    same: dict[int, int] = {}
    for block in SequenceMatcher(a=reference, b=list(words), autojunk=False).get_matching_blocks():
        same |= {block.a + offset: block.b + offset for offset in range(block.size)}
    at = 0
    for text, (start, end) in zip(joined.texts, joined.cuts, strict=True):
        first, last = at, at + len(text.split()) - 1
        at = last + 1
        second, before = min(first + 1, last), max(last - 1, first)
        if first in same and same.get(second, -1) - same[first] == second - first:
            yield "start", times[same[first]][0] - start
        if last in same and same[last] - same.get(before, -1) == last - before:
            yield "end", times[same[last]][1] - end


def spikes(model: Recognizer, log_probs: NDArray[np.float32], tokens: Sequence[int]) -> Times:
    """The first and last spike of each word."""
    first, step = model.frame_times()
    spans = align(log_probs, tokens) or []
    words = [[spans[place] for place in places] for places in model.vocabulary.words(tokens)]
    return [(first + step * word[0].first, first + step * word[-1].last) for word in words]


@torch.no_grad()
def measure(model: Recognizer, joined: Joined, decoding: DecodingConfig) -> dict[str, list[tuple[str, float]]]:
    """The errors of each way to tell times, and how sure right and wrong words are."""
    signal, length = torch.from_numpy(joined.signal)[None], torch.tensor([len(joined.signal)])
    found = model.transcribe(signal, length, decoding, word_times=True)[0]
    encoded, frames = model.encode(signal, length)
    text = " ".join(joined.texts)
    tokens = tuple(model.vocabulary.encode(text))
    given = model.time_words([Hypothesis(text, tokens, 0.0)], encoded, frames, signal, length)[0]
    log_probs = model.ctc_log_probs(encoded)[0].numpy()
    heard, reference = found.text.split(), text.split()
    right: set[int] = set()
    for block in SequenceMatcher(a=reference, b=heard, autojunk=False).get_matching_blocks():
        right |= set(range(block.b, block.b + block.size))
    return {
        "recognised words": list(errors(joined, heard, found.word_times or ())),
        "given words": list(errors(joined, reference, given.word_times or ())),
        "spikes": list(errors(joined, heard, spikes(model, log_probs, found.tokens))),
        "confidence": [
            ("right" if at in right else "wrong", sure) for at, sure in enumerate(found.word_confidences or ())
        ],
    }


def collect(model: Recognizer, utterances: Sequence[Utterance], size: int, options: Namespace) -> dict[str, list]:
    """What `measure` gives for so many signals, each of `size` utterances."""
    recipe = RunDir.open(options.run).recipe()
    collected: dict[str, list] = {}
    for number in range(options.count):
        draw = generator(recipe.seed, "word times", size, number)
        picked = [utterances[place] for place in draw.choice(len(utterances), size, replace=False)]
        for name, values in measure(model, join(picked, recipe.sample_rate, draw), recipe.decoding).items():
            collected.setdefault(name, []).extend(values)
    return collected


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("run", type=Path, help="run directory with a trained recogniser")
    options.add_argument("--count", type=int, default=100, help="signals of each kind (default: 100)")
    options = prepared(options.parse_args())
    run = RunDir.open(options.run)
    recipe = run.recipe()
    model = Recognizer.from_pretrained(str(run.require_model("recognizer"))).eval()
    utterances = read_corpora(recipe.corpora.test, skip_bad=True, sample_rate=recipe.sample_rate)
    print(f"{'':28} {'edges':>6} {'mean':>7} {'median':>7} {'95 %':>7} {'starts late':>12} {'ends late':>10}")
    rows = []
    for kind, size in (("alone", 1), ("in threes", 3)):
        collected = collect(model, utterances, size, options)
        for name in ("recognised words", "given words", "spikes"):
            late = {edge: [error for which, error in collected[name] if which == edge] for edge in ("start", "end")}
            error = np.abs(np.concatenate([late["start"], late["end"]]))
            print(
                f"{f'{kind}: {name}':28} {len(error):6} {error.mean():7.3f} {np.median(error):7.3f} "
                f"{np.percentile(error, 95):7.3f} {np.mean(late['start']):12.3f} {np.mean(late['end']):10.3f}"
            )
            rows.append(
                Row(f"{kind}: {name}", ALLOWED, float(error.mean()), 1.0 if name == "recognised words" else None)
            )
        for which in ("right", "wrong"):
            sure = [value for found, value in collected["confidence"] if found == which]
            print(f"{f'{kind}: {which} words':28} {len(sure):6} mean confidence {np.mean(sure):.3f}")
    report("word_times", rows)


if __name__ == "__main__":
    main()
