"""Estimates are refined by where sounds come from."""

import pytest
import torch
from torch import Tensor

from sepasr_cli.separation.mask_mvdr import ratio_masks
from sepasr_cli.separation.spatial_em import refined, spatial_masks
from sepasr_cli.separation.wiener import explain, heard

FRAMES, FREQUENCIES = 120, 20


def scene(seed: int, microphones: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Two sparse sources (1, 2, T, F) from two directions, the mixture (1, M, T, F), and estimates that leak."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.complex64, generator=generator)

    loud = torch.rand(1, 2, FRAMES, FREQUENCIES, generator=generator) < 0.3
    sources = noise(1, 2, FRAMES, FREQUENCIES) * (loud + 0.05)
    ways = noise(1, 2, microphones, 1, FREQUENCIES)
    ways = ways / ways[:, :, :1]
    mixture = (sources[:, :, None] * ways).sum(1) + 0.02 * noise(1, microphones, FRAMES, FREQUENCIES)
    # Leakage that comes and goes, as a network's does.
    share = torch.rand(1, 2, FRAMES, FREQUENCIES, generator=generator) < 0.3
    estimates = sources + share * (mixture[:, :1] - sources)
    return sources, mixture, estimates


def error(estimates: Tensor, sources: Tensor) -> float:
    """Error against the sources, each at its best level, as a share of their energy."""
    gain = (estimates.conj() * sources).real.sum((2, 3), keepdim=True) / estimates.abs().square().sum(
        (2, 3), keepdim=True
    )
    return float((gain * estimates - sources).abs().square().sum() / sources.abs().square().sum())


@pytest.mark.parametrize("microphones", [2, 3, 4])
def test_directions_take_out_what_leaks(microphones: int) -> None:
    sources, mixture, estimates = scene(microphones, microphones)
    views = refined(estimates, mixture).views
    torch.testing.assert_close(views[:, 0], explain(estimates, mixture[:, 0]))
    before = error(estimates, sources)
    assert error(views[:, 1], sources) < before * 3 / 4
    assert error(views[:, 2], sources) < before / 4
    assert error(views.mean(1), sources) < before / 2


def test_masks_come_nearer_to_the_ideal_and_are_probabilities() -> None:
    sources, mixture, estimates = scene(5)
    others = [mixture[:, :1] - signals.sum(1, keepdim=True) for signals in (sources, estimates)]
    ideal, begun = (ratio_masks(torch.cat(one, 1)) for one in ((sources, others[0]), (estimates, others[1])))
    found = spatial_masks(mixture, begun)
    torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))
    assert found.min() >= 0
    alone = ideal[:, :2] > 0.8
    right, before = ((masks[:, :2][alone] > 0.5).float().mean() for masks in (found, begun))
    assert right > 0.9 > before + 0.1


def test_confused_speakers_leave_doubt() -> None:
    for seed in range(3):
        sources, mixture, estimates = scene(seed, 4)
        swapped = (torch.arange(FRAMES) // 10 % 2 == 1)[:, None]
        confused = torch.where(swapped, sources.flip(1), sources)
        sure, unsure, none = (float(refined(one, mixture).doubt) for one in (estimates, confused, sources))
        assert none < sure < unsure / 1.5


def test_microphones_that_are_missing_change_nothing() -> None:
    _, mixture, estimates = scene(1, 2)
    padded = torch.cat([mixture, torch.zeros_like(mixture)], dim=1)
    assert heard(padded).tolist() == [2]
    with_zeros, without = refined(estimates, padded), refined(estimates, mixture)
    torch.testing.assert_close(with_zeros.views, without.views, rtol=5e-2, atol=5e-2)
    torch.testing.assert_close(with_zeros.doubt, without.doubt, rtol=1e-2, atol=1e-2)


def test_one_microphone_hears_no_directions() -> None:
    _, mixture, estimates = scene(2)
    mixture[:, 1:] = 0
    expected = explain(estimates, mixture[:, 0])[:, None].expand(-1, 3, -1, -1, -1)
    for found in (refined(estimates, mixture), refined(estimates, mixture[:, :1])):
        torch.testing.assert_close(found.views, expected)
        assert not found.doubt.any()


def test_a_batch_may_hold_one_microphone_and_several() -> None:
    _, mixture, estimates = scene(3)
    alone = mixture.clone()
    alone[:, 1:] = 0
    together = refined(torch.cat([estimates, estimates]), torch.cat([alone, mixture]))
    for both, one, several in zip(together, refined(estimates, alone), refined(estimates, mixture), strict=True):
        torch.testing.assert_close(both[:1], one)
        torch.testing.assert_close(both[1:], several, rtol=1e-4, atol=1e-4)


def test_frames_behind_the_end_count_for_nothing() -> None:
    _, mixture, estimates = scene(4)
    longer = [torch.nn.functional.pad(signals, (0, 0, 0, 30)) for signals in (estimates, mixture)]
    found, expected = refined(*longer), refined(estimates, mixture)
    torch.testing.assert_close(found.views[:, :, :, :FRAMES], expected.views, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.doubt, expected.doubt, rtol=1e-4, atol=1e-4)
    assert not found.views[:, :, :, FRAMES:].any()


def test_silence_stays_silent() -> None:
    silence = torch.zeros(1, 3, 10, FREQUENCIES, dtype=torch.complex64)
    for found in refined(silence[:, :2], silence):
        assert not found.any()
