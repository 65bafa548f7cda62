"""Utterances of a speaker's own words: text and sound go together, and each draw is its seed's."""

from pathlib import Path

import numpy as np
import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.training.speech import LabelledSpeech
from sepasr_cli.training.splicing import FADE, MARGIN, Splices, load_times, save_times

RATE = 1000
#: Each word sounds at a level of its own, which tells it in what is spliced.
LEVELS = {"ONE": 0.1, "TWO": 0.2, "GO": 0.3, "STOP": 0.4}


def spoken(name: str, speaker: str, text: str) -> LabelledSpeech:
    silence = np.zeros(200, np.float32)
    words = [np.full(300, LEVELS[word], np.float32) for word in text.split()]
    samples = np.concatenate([silence, *(part for word in words for part in (word, silence))])
    return LabelledSpeech(name, speaker, text, len(samples) / RATE, lambda: samples)


SPEECH = [
    spoken("a1", "ann", "ONE TWO ONE"),
    spoken("a2", "ann", "GO"),
    spoken("b1", "bob", "STOP"),
    spoken("b2", "bob", "TWO"),
]
TIMES = {
    "a1": [(0.2, 0.5), (0.7, 1.0), (1.2, 1.5)],
    "a2": [(0.2, 0.5)],
    "b1": [(0.2, 0.5)],
}


def splices(share: float = 1.0) -> Splices:
    return Splices(SPEECH, TIMES, share=share, seed=3, sample_rate=RATE)


def test_sound_and_text_are_of_the_same_words_of_one_speaker() -> None:
    seen = set()
    for epoch in range(20):
        made = splices()(SPEECH[0], epoch)
        samples = made.read()
        loud = samples > 0.05
        starts = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(int)))) == 1)
        middles = [float(samples[start + 150]) for start in starts]
        assert middles == pytest.approx([LEVELS[word] for word in made.text.split()])
        assert len(samples) == round(made.duration * RATE)
        assert 3 <= len(starts) <= 5
        seen |= set(made.text.split())
    assert seen == {"ONE", "TWO", "GO"}


def test_draws_depend_on_seed_utterance_and_epoch_alone() -> None:
    one, two = splices(), splices()
    two(SPEECH[1], 0)
    assert np.array_equal(one(SPEECH[0], 4).read(), two(SPEECH[0], 4).read())
    assert len({one(SPEECH[0], epoch).text for epoch in range(8)}) > 1


def test_a_share_is_replaced_and_what_has_no_times_never() -> None:
    some = splices(share=0.5)
    replaced = sum(some(SPEECH[0], epoch) is not SPEECH[0] for epoch in range(60))
    assert 15 < replaced < 45
    assert all(splices()(SPEECH[3], epoch) is SPEECH[3] for epoch in range(5))


def test_words_are_faded_in_and_out() -> None:
    samples = splices()(SPEECH[2], 0).read()
    assert np.abs(np.diff(samples)).max() < 0.5
    assert samples[0] == 0 and FADE < MARGIN


def test_times_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    save_times(path, TIMES)
    assert load_times(path) == TIMES
    for damaged in ('{"a1": [[1]]}', '{"a1": 3}', "[]", "{"):
        path.write_text(damaged)
        with pytest.raises(SepasrError, match=r"words.json: .*; remove it and run the command again"):
            load_times(path)
