"""A second network corrects what the spatial model makes of the first one's estimates."""

import pytest
import torch
from torch import Tensor, nn

from sepasr_cli.errors import SepasrError
from sepasr_cli.separation.losses import separation_loss
from sepasr_cli.separation.spatial_em import refined
from sepasr_cli.separation.stft import deviation
from sepasr_cli.separation.tfgridnet import TFGridNet, TFGridNetConfig, heard_parts
from sepasr_cli.separation.two_stage import VIEWS, TwoStage, TwoStageConfig, turned

SIZES = {"fft_size": 64, "hop": 32, "blocks": 1, "embedding": 4, "lstm": 4, "heads": 2, "qk_size": 66}
SIZES |= {"sample_rate": 8000, "microphones": 3, "fewer_microphones": True}


@pytest.fixture
def first() -> TFGridNet:
    torch.manual_seed(0)
    return TFGridNet(TFGridNetConfig.model_validate(SIZES)).eval()


@pytest.fixture
def both(first: TFGridNet) -> TwoStage:
    return TwoStage.following(first, TwoStageConfig.model_validate(SIZES)).eval()


def disturbed(model: TwoStage) -> TwoStage:
    """With a second network that does correct something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.second.decode.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("microphones", [1, 2, 3])
def test_it_begins_with_what_the_spatial_model_makes_of_the_first(
    first: TFGridNet, both: TwoStage, microphones: int
) -> None:
    mixture, lengths = torch.randn(2, microphones, 4000), torch.tensor([4000, 2500])
    mixture[1, :, 2500:] = 0
    with torch.no_grad():
        begun = both(mixture, lengths)
        for index, size in enumerate(lengths.tolist()):
            alone = mixture[index : index + 1, :, :size]
            level = deviation(alone)
            spectra = [both.stft.analyse(one / level) for one in (first(alone), alone)]
            expected = both.stft.synthesise(refined(*spectra).views.mean(1), size) * level
            torch.testing.assert_close(begun[index, :, :size], expected[0], rtol=1e-3, atol=1e-4)
        assert not torch.allclose(disturbed(both)(mixture, lengths), begun, atol=1e-2)


@pytest.mark.parametrize("cues", [False, True])
def test_the_second_begins_deaf_to_the_guides_and_learns_to_hear_them(cues: bool) -> None:
    torch.manual_seed(0)
    config = TwoStageConfig.model_validate(SIZES | {"cues": cues})
    both = TwoStage.following(TFGridNet(TFGridNetConfig.model_validate(SIZES | {"cues": cues})), config)
    weight = disturbed(both).second.encode.weight
    parts = heard_parts(both.second.config)
    own = zip(weight.split(parts, 1), both.first.encode.weight.split(heard_parts(both.first.config), 1), strict=True)
    guides = []
    with torch.no_grad():
        for part, before in own:
            torch.testing.assert_close(part[:, : before.shape[1]], before)
            guides.append(part[:, before.shape[1] :])
            assert guides[-1].shape[1] == VIEWS * 2 and not guides[-1].any()
    both(torch.randn(1, 3, 2000)).square().sum().backward()
    assert weight.grad is not None
    for part, before in zip(weight.grad.split(parts, 1), heard_parts(both.first.config), strict=True):
        assert part[:, before:].abs().min() > 0


def test_the_second_may_be_larger_than_the_first_and_begin_as_a_smaller_one(both: TwoStage) -> None:
    grown = TwoStage(TwoStageConfig.model_validate(SIZES | {"second_blocks": 2, "second_lstm": 6})).eval()
    assert grown.first.config == both.first.config
    assert (grown.second.config.blocks, grown.second.config.lstm) == (2, 6)
    grown.begin_as(disturbed(both))
    mixture = torch.randn(2, 3, 3000)
    with torch.no_grad():
        torch.testing.assert_close(grown(mixture), both(mixture))


def test_an_example_alone_equals_itself_in_a_padded_batch(both: TwoStage) -> None:
    mixture, lengths = torch.randn(2, 2, 4000), torch.tensor([4000, 2950])
    mixture[1, :, 2950:] = 0
    with torch.no_grad():
        together, alone = disturbed(both)(mixture, lengths), both(mixture[1:, :, :2950])
    torch.testing.assert_close(together[1, :, :2950], alone[0], rtol=1e-4, atol=1e-5)
    assert not together[1, :, 2950:].any()


def test_training_leaves_the_first_as_it_was(first: TFGridNet, both: TwoStage) -> None:
    both.train()
    optimizer = torch.optim.Adam([weight for weight in both.parameters() if weight.requires_grad], lr=1e-2)
    references = torch.randn(1, 2, 4000)
    mixture = torch.stack([references.sum(1), references[:, 0] - references[:, 1], references[:, 0]], dim=1)
    losses = []
    for _ in range(12):
        loss = separation_loss(both(mixture), references, None, "si_sdr").loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    for name, value in first.state_dict().items():
        assert torch.equal(both.first.state_dict()[name], value)


def test_it_takes_the_microphones_that_its_first_takes(both: TwoStage) -> None:
    assert list(both.takes) == [1, 2, 3]
    with pytest.raises(SepasrError, match="found 4 channels, the model expects 1 to 3"):
        both(torch.randn(1, 4, 2000))


class Leaning(nn.Module):
    """What knows the speakers where the second microphone it hears is the right one, and confuses them elsewhere."""

    def __init__(self, speakers: Tensor, right: Tensor) -> None:
        super().__init__()
        self.speakers, self.right, self.heard = speakers, right, 0
        self.order, self.takes = [0, 1, 2], range(1, 4)

    def forward(self, mixture: Tensor, lengths: Tensor | None) -> Tensor:
        self.heard += len(mixture)
        knows = torch.isclose(mixture[:, 1], self.right).all(1)[:, None, None]
        # Every eighth of a second it takes one for the other.
        swapped = torch.arange(mixture.shape[2]) // 1000 % 2 == 1
        return torch.where(knows | ~swapped, self.speakers, self.speakers.flip(0))


def test_microphones_are_heard_the_other_way_round_where_that_leaves_less_doubt(both: TwoStage) -> None:
    generator = torch.Generator().manual_seed(0)
    bursts = (torch.arange(8000) // 500 % 4)[None] == torch.tensor([[0], [2]])
    speakers = torch.randn(2, 8000, generator=generator) * (bursts + 0.5)
    delays = ((0, 0), (1, 3), (4, 0))
    microphones = [sum(one.roll(delay) for one, delay in zip(speakers, pair, strict=True)) for pair in delays]
    mixture = torch.stack([torch.as_tensor(one) for one in microphones])
    leaning = Leaning(speakers, mixture[2])
    both.first = leaning  # type: ignore[assignment]
    right, wrong = mixture[[0, 2, 1]], mixture
    with torch.no_grad():
        expected = both(right[None])
        assert leaning.heard == 1
        torch.testing.assert_close(both(wrong[None]), expected)
        assert leaning.heard == 3
        # Two microphones can be heard in one order alone; of a batch only what is in doubt is heard again.
        two = torch.cat([mixture[:2], torch.zeros(1, 8000)])
        together = both(torch.stack([right, wrong, two]))
        assert leaning.heard == 7
        for found, alone in zip(together, (expected, expected, both(two[None])), strict=True):
            assert (found - alone).norm() < 0.01 * alone.norm()
        assert leaning.heard == 8


def test_the_other_way_round_the_reference_and_missing_microphones_stay() -> None:
    mixture = torch.tensor([[1.0, 2, 3, 4], [1, 2, 3, 0], [1, 2, 0, 0]])[:, :, None].repeat(1, 1, 5)
    assert turned(mixture, 0)[:, :, 0].tolist() == [[1, 4, 3, 2], [1, 3, 2, 0], [1, 2, 0, 0]]
    assert turned(mixture, 1)[:, :, 0].tolist() == [[4, 2, 3, 1], [3, 2, 1, 0], [1, 2, 0, 0]]
