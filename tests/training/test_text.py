"""Sentences for the language model, and a few steps of it."""

import itertools
from pathlib import Path

import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.language_model import LanguageModel, LanguageModelConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.training.tasks import LanguageModelTask
from sepasr_cli.training.text import Sentences, read_lines

VOCABULARY = Vocabulary.train(["ABC DEF"], "characters")


def sentences(*texts: str, **changes: int) -> Sentences:
    settings = {"batch_size": 2, "seed": 1, "max_tokens": 500} | changes
    return Sentences([("text", texts)], VOCABULARY, **settings)


def test_every_sentence_once_an_epoch_by_the_seed_and_the_number_alone() -> None:
    data, again = sentences("A", "AB", "ABC", "ABCD", "F"), sentences("A", "AB", "ABC", "ABCD", "F")
    seen = sorted(name for number in range(3) for name in data(number).ids)
    assert seen == [f"text:{line}" for line in range(1, 6)]
    again(5)
    torch.testing.assert_close(data(4).targets, again(4).targets)
    batch = next(make() for make in data.in_order() if "text:3" in make().ids)
    row = batch.ids.index("text:3")
    assert batch.targets[row, : batch.target_lengths[row]].tolist() == VOCABULARY.encode("ABC")


def test_long_lines_are_cut() -> None:
    data = sentences("ABCDEF ABC", max_tokens=4)
    assert [len(tokens) for tokens in data.tokens] == [4, 4, 2]
    assert [*itertools.chain(*data.tokens)] == VOCABULARY.encode("ABCDEF ABC")


def test_text_the_recogniser_does_not_know_is_refused_and_little_of_it_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SepasrError, match=r"text: 50 % of the tokens are unknown .* first in 'abC'.*pretrain_lm.rule"):
        sentences("A", "abC")
    sentences("ABC DEF " * 3, "X")
    assert "unknown to the recogniser, first in 'X'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"\n \n", "holds no text"), ("caf\xe9".encode("latin-1"), "not UTF-8 text .byte 3")],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SepasrError, match=message):
        read_lines(path, "upper")


def test_training_lowers_the_perplexity_whose_definition_is_that_of_the_corpus() -> None:
    torch.manual_seed(0)
    config = LanguageModelConfig(
        blocks=1, size=16, heads=2, feed_forward=16, embedding=8, dropout=0.0, vocabulary=VOCABULARY
    )
    task = LanguageModelTask(LanguageModel(config))
    batch = sentences("ABABABAB", "AB", batch_size=2)(0)

    @torch.no_grad()
    def perplexity() -> float:
        metrics = task(batch).metrics
        return task.derived({name: float(value.mean()) for name, value in metrics.items()})["perplexity"]

    before = perplexity()
    nats = task.model(batch.targets, batch.target_lengths).sum().detach()
    assert before == pytest.approx(float((nats / (8 + 1 + 2 + 1)).exp()), rel=1e-5)
    optimizer = torch.optim.Adam(task.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        task(batch).loss.mean().backward()
        optimizer.step()
    assert perplexity() < 1.7 < before
