"""The search among sentences of given words, against all of them one by one."""

from itertools import product
from pathlib import Path

import pytest
import torch

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.beam_search import CTCPrefixScorer, DecodingConfig, Weighted, beam_search
from sepasr_cli.recognition.lexicon import Lexicon
from sepasr_cli.recognition.tokens import Vocabulary

WORDS = ("AB", "A", "BBA")
CHARACTERS = Vocabulary.train(["AB A BBA"], "characters")
PIECES = Vocabulary.train(["AB A BBA AB BBA"], "bpe", 9)


def log_likelihood(log_probs: torch.Tensor, tokens: list[int]) -> float:
    if not tokens:
        return float(log_probs[:, 0].sum())
    lengths = torch.tensor([len(log_probs)])
    loss = torch.nn.functional.ctc_loss(
        log_probs[:, None], torch.tensor([tokens]), lengths, torch.tensor([len(tokens)]), reduction="none"
    )
    return -float(loss)


@pytest.mark.parametrize("vocabulary", [CHARACTERS, PIECES], ids=["characters", "bpe"])
def test_the_best_sentence_of_the_words(vocabulary: Vocabulary) -> None:
    size = len(vocabulary.tokens)
    log_probs = (1.5 * torch.randn(6, 7, size, generator=torch.Generator().manual_seed(0))).double().log_softmax(-1)
    lengths = torch.tensor([7, 6, 7, 5, 7, 7])
    lexicon = Lexicon(WORDS, vocabulary)
    config = DecodingConfig(beam=200, detect_end=False, max_length_ratio=2)
    ctc = CTCPrefixScorer(log_probs, lengths, vocabulary.boundary_id)
    weighted = [Weighted(lexicon, lexicon.start(6), 1.0)]
    found = beam_search(lengths, vocabulary.boundary_id, config, weighted, ctc, 1.0)

    inner = range(2, size - 1)
    texts = {" ".join(words) for count in range(4) for words in product(WORDS, repeat=count)}
    spelled = [list(ids) for count in range(7) for ids in product(inner, repeat=count)]
    allowed = [ids for ids in spelled if vocabulary.decode(ids) in texts and _plain(vocabulary, ids)]
    for (tokens, score), example, length in zip(found, log_probs, lengths.tolist(), strict=True):
        best = max(allowed, key=lambda ids: log_likelihood(example[:length], ids))
        assert vocabulary.decode(tokens) in texts
        assert score >= log_likelihood(example[:length], best) - 1e-6
        assert score == pytest.approx(log_likelihood(example[:length], tokens), abs=1e-6)


def _plain(vocabulary: Vocabulary, ids: list[int]) -> bool:
    """Without spaces at the ends or side by side."""
    text = "".join(vocabulary.tokens[number].replace("<space>", " ").replace("\u2581", " ") for number in ids)
    text = text.removeprefix(" ") if vocabulary.kind == "bpe" else text
    return text == " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "message"), [((), "words: none found"), (("AB", "AC"), "the recogniser cannot spell 'AC'")]
)
def test_words_that_cannot_be(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(SepasrError, match=message):
        Lexicon(words, CHARACTERS)


def test_a_file_of_words(tmp_path: Path, joint_folder: Path, make_run) -> None:
    mixture = make_run(1).data / "test" / "test_0.flac"
    words = tmp_path / "words.txt"
    for given, limit in (("A B", {"A", "B"}), ("C", {"C"})):
        words.write_text(given)
        outcome = sepasr_cli.transcribe(
            [mixture], model=str(joint_folder), decoding="beam", words=words, channels="1,2", whole=True
        )
        outcome.check()
        assert {word for segment in outcome.segments for word in segment.words.split()} <= limit
    with pytest.raises(SepasrError, match="holds no words"):
        words.write_text(" ")
        sepasr_cli.transcribe([mixture], model=str(joint_folder), words=words)
