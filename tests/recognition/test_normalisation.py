import pytest
import torch

from sepasr_cli.recognition.normalisation import Normalisation


@pytest.mark.parametrize("kind", ["utterance", "utterance_mean"])
def test_each_utterance_by_its_own_frames(kind):
    features, lengths = 5 + 3 * torch.randn(2, 50, 4), torch.tensor([50, 20])
    found = Normalisation(kind, 4)(features, lengths)
    torch.testing.assert_close(found[1, :20].mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    spread = features[1, :20].var(0) / features[1, :20].var(0) if kind == "utterance" else features[1, :20].var(0)
    torch.testing.assert_close(found[1, :20].var(0, unbiased=kind == "utterance_mean"), spread, rtol=1e-4, atol=1e-4)
    assert (found[1, 20:] == 0).all()


@pytest.mark.parametrize("kind", ["utterance", "utterance_mean", "global"])
def test_features_that_do_not_vary_stay_small(kind):
    normalisation = Normalisation(kind, 4)
    constant = torch.full((1, 9, 4), 7.0), torch.tensor([9])
    if kind == "global":
        normalisation.measure([constant])
    assert (normalisation(*constant) == 0).all()


def test_global_statistics_are_those_of_all_batches_and_are_saved():
    normalisation = Normalisation("global", 3)
    batches = [(torch.randn(2, 30, 3) * 4 + 1, torch.tensor([30, 11])), (torch.randn(1, 8, 3), torch.tensor([8]))]
    normalisation.measure(batches)
    frames = torch.cat([batches[0][0][0], batches[0][0][1, :11], batches[1][0][0]])
    torch.testing.assert_close(normalisation.mean, frames.mean(0))
    torch.testing.assert_close(normalisation.deviation, frames.std(0, unbiased=False))
    again = Normalisation("global", 3)
    again.load_state_dict(normalisation.state_dict())
    found = again(*batches[0])
    torch.testing.assert_close(found, normalisation(*batches[0]))
    assert (found[1, 11:] == 0).all()
    assert Normalisation("utterance", 3).state_dict() == {}
