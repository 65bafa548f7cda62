import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.language_model import LanguageModel, LanguageModelConfig
from sepasr_cli.recognition.tokens import Vocabulary

VOCABULARY = Vocabulary.train(["abcde f"], "characters")
TINY = LanguageModelConfig(blocks=2, size=12, heads=2, feed_forward=24, embedding=6, vocabulary=VOCABULARY)


def test_defaults_build():
    with torch.device("meta"):
        assert len(LanguageModel(LanguageModelConfig(vocabulary=VOCABULARY)).stack.layers) == 16


def test_a_vocabulary_is_needed():
    with pytest.raises(SepasrError, match="no vocabulary"):
        LanguageModel(LanguageModelConfig())


@torch.no_grad()
@pytest.mark.parametrize("positions", ["sinusoidal", "none"])
def test_cached_steps_equal_whole_sentences(positions):
    torch.manual_seed(0)
    model = LanguageModel(TINY.model_copy(update={"positions": positions})).eval()
    targets, lengths = torch.tensor([[2, 3, 4, 5], [6, 7, -1, -1], [-1, -1, -1, -1]]), torch.tensor([4, 2, 0])
    losses = model(targets, lengths)
    boundary = VOCABULARY.boundary_id
    for sentence, length, expected in zip(targets, lengths, losses, strict=True):
        state, last, total = model.start(), boundary, 0.0
        for token in [*sentence[:length].tolist(), boundary]:
            total -= float(model.step(torch.tensor([[last]]), state)[0, 0, token])
            last = token
        assert total == pytest.approx(float(expected), rel=1e-4)


def test_it_learns_and_survives_saving(tmp_path):
    torch.manual_seed(0)
    model = LanguageModel(TINY)
    targets, lengths = torch.tensor([[2, 3, 4, 5], [6, 7, -1, -1]]), torch.tensor([4, 2])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    before = model.eval()(targets, lengths).sum()
    model.train()
    for _ in range(10):
        optimiser.zero_grad()
        model(targets, lengths).sum().backward()
        optimiser.step()
    after = model.eval()(targets, lengths)
    assert after.sum() < 0.9 * before
    model.save_pretrained(tmp_path)
    again = LanguageModel.from_pretrained(tmp_path)
    torch.testing.assert_close(again(targets, lengths), after)
