from itertools import permutations

import pytest
import torch

from sepasr_cli.joint import JointConfig, JointModel
from sepasr_cli.recognition.beam_search import DecodingConfig


@pytest.fixture(scope="module", params=[2, 3])
def joint(request, separator_config, recognizer_config):
    separator = separator_config.model_copy(update={"speakers": request.param})
    torch.manual_seed(0)
    return JointModel(JointConfig(separator=separator, recognizer=recognizer_config)).eval()


@pytest.fixture
def batch(joint):
    speakers = joint.config.separator.speakers
    torch.manual_seed(1)
    return {
        "mixture": torch.randn(2, 2, 4000),
        "lengths": torch.tensor([4000, 4000]),
        "targets": torch.randint(2, 5, (2, speakers, 4)),
        "target_lengths": torch.full((2, speakers), 4),
    }


def test_every_order_of_the_transcripts_gives_one_loss(joint, batch):
    totals = []
    for order in permutations(range(joint.config.separator.speakers)):
        reordered = batch | {"targets": batch["targets"][:, order], "target_lengths": batch["target_lengths"][:, order]}
        result = joint(**reordered)
        totals.append(result.recognition.total.view(2, -1).sum(1))
        assert torch.equal(result.order.sort(1).values, torch.arange(len(order)).expand(2, -1))
    assert all(torch.allclose(total, totals[0], atol=1e-4) for total in totals)


def test_the_order_is_the_one_of_least_ctc_loss(joint, batch):
    speakers = joint.config.separator.speakers
    sums = torch.stack(
        [
            joint(**batch, order=torch.tensor(order).expand(2, -1)).recognition.ctc.view(2, -1).sum(1)
            for order in permutations(range(speakers))
        ]
    )
    best = joint(**batch).recognition.ctc.view(2, -1).sum(1)
    assert torch.allclose(best, sums.min(0).values, atol=1e-4)


def test_an_example_alone_equals_itself_in_a_padded_batch(joint, batch):
    batch["lengths"] = torch.tensor([4000, 2950])
    batch["mixture"][1, :, 2950:] = 0
    together = joint(**batch)
    alone = joint(
        batch["mixture"][1:, :, :2950], batch["lengths"][1:], batch["targets"][1:], batch["target_lengths"][1:]
    )
    speakers = joint.config.separator.speakers
    assert torch.allclose(together.estimates[1, :, :2950], alone.estimates[0], atol=1e-5)
    assert torch.allclose(together.recognition.total.view(2, speakers)[1], alone.recognition.total, rtol=1e-4)
    decoding = DecodingConfig(beam=3)
    found, _ = joint.transcribe(batch["mixture"], batch["lengths"], decoding)
    single, _ = joint.transcribe(batch["mixture"][1:, :, :2950], None, decoding)
    assert [one.tokens for one in found[1]] == [one.tokens for one in single[0]]


def test_saved_and_loaded_it_says_the_same(joint, batch, tmp_path):
    joint.save_pretrained(tmp_path)
    loaded = JointModel.from_pretrained(str(tmp_path))
    assert torch.equal(loaded(**batch).recognition.total, joint(**batch).recognition.total)


def test_rates_must_agree(joint):
    with pytest.raises(ValueError, match="8000 Hz, the recogniser at 16000 Hz"):
        JointConfig(
            separator=joint.config.separator,
            recognizer=joint.config.recognizer.model_copy(update={"sample_rate": 16000}),
        )
