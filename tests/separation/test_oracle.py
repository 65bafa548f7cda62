"""Ideal ratio masks are shares, and MVDR steered by them finds the speakers."""

import numpy as np
import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.scoring.bss_eval import si_sdr
from sepasr_cli.separation import MaskMVDRConfig
from sepasr_cli.separation.mask_mvdr import ratio_masks
from sepasr_cli.separation.oracle import oracle_mvdr

CONFIG = MaskMVDRConfig(fft_size=256, hop=64)


def test_masks_share_the_energy() -> None:
    sources = torch.tensor([3.0, 4.0j, 0.0])[None, :, None, None].expand(1, 3, 2, 2)
    masks = ratio_masks(sources)
    assert torch.allclose(masks[0, :, 0, 0], torch.tensor([9 / 25, 16 / 25, 0.0]))
    assert not ratio_masks(torch.zeros(1, 3, 2, 2, dtype=torch.complex64)).any()


@pytest.mark.parametrize("microphones", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_it_finds_the_speakers_in_their_order(talkers: np.ndarray, microphones: int, scale: float) -> None:
    """Two speakers, each a sample later at every further microphone or a sample earlier, and no noise."""
    references = torch.from_numpy(talkers * scale)
    shifts = range(microphones)
    mixture = torch.stack([references[0].roll(shift) + references[1].roll(-shift) for shift in shifts])
    found = oracle_mvdr(mixture[None], references[None], CONFIG)[0]
    assert found.shape == references.shape
    before, after = (
        np.diag(si_sdr(talkers.astype(float), signals.double().numpy()))
        for signals in (mixture[:1].expand(2, -1), found)
    )
    assert (after > before + (3 if microphones == 1 else 10)).all()


def test_the_reference_microphone_must_be_there() -> None:
    with pytest.raises(SepasrError, match="found 1 channels, and the reference microphone is number 2"):
        oracle_mvdr(torch.randn(1, 1, 800), torch.randn(1, 2, 800), MaskMVDRConfig(reference_microphone=1))
