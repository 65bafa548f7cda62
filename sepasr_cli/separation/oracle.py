"""What masks that are right can reach: MVDR steered by ideal ratio masks, made from the references.

No system: it needs the answer. It bounds what a mask estimator with this beamformer may hope for.

Axes: B batch, S speaker, C source (the speakers, then the rest), M microphone, N sample, T frame, F frequency.
"""

import torch
from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.separation.mask_mvdr import MaskMVDRConfig, beamform, ratio_masks
from sepasr_cli.separation.stft import Stft, deviation

#: Frames of 64 ms: longer ones than an estimator likes hold more of a room's echoes.
ORACLE = MaskMVDRConfig(fft_size=1024, hop=256)


def oracle_mvdr(mixture: Tensor, references: Tensor, config: MaskMVDRConfig = ORACLE) -> Tensor:
    """Separate mixtures by the MVDR filter that ideal ratio masks steer, as `MaskMVDR` does by its own masks.

    What the mixture holds beside the references, at the reference microphone, is the noise: with early references
    that is late reverberation too. With a single microphone the masks are applied to the mixture.

    Args:
        mixture: audio, (B, M, N).
        references: the speakers at the reference microphone, (B, S, N).
        config: frames, reference microphone, form of the filter and its loading.

    Returns:
        The speakers at the reference microphone, in the order of the references, (B, S, N).

    Raises:
        SepasrError: where the reference microphone is not among the mixture's.
    """
    at = config.reference_microphone
    if mixture.shape[1] <= at:
        raise SepasrError(f"found {mixture.shape[1]} channels, and the reference microphone is number {at + 1}")
    config = config.model_copy(update={"speakers": references.shape[1]})
    stft, level = Stft(config.fft_size, config.hop), deviation(mixture)
    spectrum, speakers = stft.analyse(mixture / level), stft.analyse(references / level)
    rest = spectrum[:, at : at + 1] - speakers.sum(1, keepdim=True)
    masks = ratio_masks(torch.cat([speakers, rest], dim=1))
    alone = mixture.shape[1] == 1
    separated = masks[:, :-1] * spectrum if alone else beamform(spectrum, masks, config)
    return stft.synthesise(separated, mixture.shape[2]) * level
