"""Masks whose order changes within a mixture are put in one order by where sounds come from."""

import numpy as np
import pytest
import torch

from sepasr_cli.separation import MaskMVDR, MaskMVDRConfig
from sepasr_cli.separation.alignment import align_masks

#: Axes: S speaker, M microphone, T frame, F frequency.
S, M, T, F, BLOCK = 2, 3, 200, 33, 20


def scene(speakers: int = S, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (1, S, T, F) of speakers who take turns and speak at once, and their mixture (1, M, T, F)."""
    draw = np.random.default_rng(seed)
    talking = np.repeat(draw.integers(1, 2**speakers, T // BLOCK), BLOCK)
    active = np.stack([(talking >> number) % 2 for number in range(speakers)])
    level = active[:, :, None] * draw.exponential(size=(speakers, T, F))
    delays = draw.uniform(-1, 1, (speakers, M))
    delays[:, 0] = 0
    steering = np.exp(1j * np.pi * np.arange(F) * delays[:, :, None])
    sources = level * np.exp(2j * np.pi * draw.random((speakers, T, F)))
    mixture = np.einsum("smf,stf->mtf", steering, sources) + 0.01 * draw.standard_normal((M, T, F))
    masks = (level == level.max(0)) & (level > 0)
    return torch.from_numpy(masks[None]).float(), torch.from_numpy(mixture[None]).to(torch.complex64)


def exchanged(masks: torch.Tensor, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    blocks = [block[:, torch.randperm(block.shape[1], generator=draw)] for block in masks.split(BLOCK, dim=2)]
    return torch.cat(blocks, dim=2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("speakers", [2, 3])
def test_exchanged_masks_are_put_in_order(speakers: int, seed: int) -> None:
    masks, mixture = scene(speakers, seed)
    found = align_masks(exchanged(masks, seed), mixture, BLOCK)
    orders = torch.tensor([[(found[0, a] * masks[0, b]).sum() for b in range(speakers)] for a in range(speakers)])
    assert sorted(orders.argmax(1).tolist()) == list(range(speakers))
    agreement = (found[0] * masks[0, orders.argmax(1)]).sum() / masks.sum()
    assert agreement > 0.97


def test_the_reference_and_what_is_batched_with_it_change_nothing() -> None:
    scenes = [scene(seed=seed) for seed in (0, 1)]
    masks, mixture = (torch.cat(parts) for parts in zip(*scenes, strict=True))
    mixed = exchanged(masks, 3)
    together = align_masks(mixed, mixture, BLOCK, reference=1)
    alone = [align_masks(mixed[number : number + 1], mixture[number : number + 1], BLOCK) for number in range(2)]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one, other[0]) or torch.equal(one, other[0].flip(0))


def test_one_block_and_one_speaker_stay_as_they_are() -> None:
    masks, mixture = scene()
    assert torch.equal(align_masks(masks[:, :, :BLOCK], mixture[:, :, :BLOCK], BLOCK), masks[:, :, :BLOCK])
    assert torch.equal(align_masks(masks[:, :1], mixture, BLOCK), masks[:, :1])


def test_silence_is_no_trouble() -> None:
    masks, mixture = scene()
    assert torch.equal(align_masks(masks, 0 * mixture, BLOCK), masks)


def test_a_model_aligns_on_request_what_is_longer_than_a_second() -> None:
    torch.manual_seed(0)
    model = MaskMVDR(
        MaskMVDRConfig(sample_rate=8000, microphones=3, fft_size=64, hop=32, layers=1, lstm=4, projection=4)
    ).eval()
    sound = torch.randn(2, 3, 30_000)
    with torch.inference_mode():
        assert torch.equal(model(sound[..., :7900]), model(sound[..., :7900], aligned=True))
        aligned = model(sound, aligned=True)
        assert aligned.shape == (2, 2, 30_000) and aligned.isfinite().all()
        torch.testing.assert_close(aligned[:1], model(sound[:1], aligned=True), atol=1e-4, rtol=1e-4)
        # With one microphone there is no place to tell.
        mono = MaskMVDR(model.config.model_copy(update={"microphones": 1})).eval()
        assert torch.equal(mono(sound[:, :1]), mono(sound[:, :1], aligned=True))
