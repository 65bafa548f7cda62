"""Separation by masks that steer a beamformer: a BLSTM mask estimator and the MVDR filter in Souden's form.

T. Ochiai et al., "Multichannel End-to-end Speech Recognition" (arXiv 1703.04783), the mask-based MVDR baseline of
arXiv 2307.12231. The filter: M. Souden, J. Benesty, S. Affes, "On Optimal Frequency-Domain Multichannel Linear
Filtering for Noise Reduction" (IEEE TASLP 2010), equation 18.

Axes: B batch, S speaker, C source (the speakers, then the noise), M microphone, N sample, T frame, F frequency.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from typing_extensions import Self

from sepasr_cli.onednn import Linear
from sepasr_cli.saved_model import SavedModel
from sepasr_cli.separation.alignment import align_masks
from sepasr_cli.separation.microphones import accepted, check_microphones
from sepasr_cli.separation.stft import Stft, deviation, differing, valid
from sepasr_cli.settings import Settings

#: Added to what is divided by: far below any magnitude or energy heard.
EPSILON = 1e-10
#: A source's mean mask below which it is rounding alone, and has no covariance worth its scale.
NOWHERE = 1e-8
#: Added to the diagonal where there is no loading: a matrix of zeros can then be solved for.
SINGULAR = 1e-20
MASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "clamp": lambda x: x.clamp(0, 1),
}
#: Frequencies that are beamformed at once on a CPU.
CACHED_FREQUENCIES = 16


class MaskMVDRConfig(Settings):
    """The sizes of a mask estimator and its beamformer; the defaults are those of arXiv 2307.12231."""

    kind: Literal["mask_mvdr"] = "mask_mvdr"
    sample_rate: int = Field(default=16000, gt=0)
    #: Microphones in training; any number may be given afterwards.
    microphones: int = Field(default=2, gt=0)
    speakers: int = Field(default=2, gt=0, le=6)
    #: Index of the microphone at which the speakers are estimated.
    reference_microphone: int = Field(default=0, ge=0)
    fft_size: int = Field(default=512, ge=4, multiple_of=2)
    hop: int = Field(default=128, gt=0)
    #: What the estimator sees of audio of unit deviation. For each microphone, with the masks averaged: magnitudes, or
    #: log(1 + magnitude). All at once, from exactly the microphones trained with: "phase", the log magnitudes of the
    #: reference and the cosine and sine of the others' phase differences to it (Wang, Le Roux, Hershey 2018).
    input: Literal["magnitude", "log", "phase"] = "magnitude"
    #: Whether phase inputs come from fewer microphones as well, down to the reference alone: those of the others are
    #: zeros then, as they are where a channel is silent. Training draws their number (`microphone_counts`).
    fewer_microphones: bool = False
    layers: int = Field(default=3, gt=0)
    #: Units of each LSTM in each direction, and of the projection after it.
    lstm: int = Field(default=512, gt=0)
    projection: int = Field(default=512, gt=0)
    #: Whether noise has a mask of its own; without one, all that disturbs a speaker is the other speakers.
    noise_mask: bool = True
    mask: Literal["sigmoid", "relu", "tanh", "clamp"] = "sigmoid"
    #: Masks are never below this; 0 leaves them as they are.
    mask_floor: float = Field(default=0.0, ge=0, lt=1)
    #: The MVDR filter in Souden's form, or by the speaker's relative transfer function (RTF), which the power method
    #: finds in `power_iterations`.
    beamformer: Literal["souden", "rtf"] = "souden"
    power_iterations: int = Field(default=2, ge=2)
    #: Loading of the noise covariance's diagonal, as a part of its trace (0: none), and what is added to it and to the
    #: filter's denominator: by default far below any sound at the level of 1.
    diagonal_loading: float = Field(default=1e-7, ge=0)
    epsilon: float = Field(default=1e-10, gt=0)
    #: Bring the mixture to unit deviation first, and the speakers back to its level.
    unit_level: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reference_microphone >= self.microphones:
            found, microphones = self.reference_microphone, self.microphones
            raise ValueError(f"reference_microphone {found} must be below microphones {microphones}")
        if self.input == "phase" and self.microphones < 2:
            raise ValueError("input 'phase' needs at least 2 microphones; choose 'log' for a single one")
        if self.speakers == 1 and not self.noise_mask:
            raise ValueError("noise_mask is false with 1 speaker; then nothing is left to separate it from")
        if self.hop > self.fft_size // 2:
            raise ValueError(f"hop {self.hop} must be at most half of fft_size {self.fft_size}")
        return self


class ProjectedBLSTM(nn.Module):
    """BLSTM layers, each followed by a linear projection, with tanh between the layers."""

    def __init__(self, inputs: int, layers: int, lstm: int, projection: int) -> None:
        super().__init__()
        sizes = [inputs] + [projection] * (layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(size, lstm, bidirectional=True) for size in sizes)
        self.projections = nn.ModuleList(Linear(2 * lstm, projection) for _ in sizes)

    def forward(self, x: Tensor, frames: Tensor | None = None) -> Tensor:
        """Sequences (T, B, inputs) to (T, B, projection); `frames` (B,), on the CPU, where they differ."""
        for index, (lstm, projection) in enumerate(zip(self.lstms, self.projections, strict=True)):
            x = torch.tanh(x) if index else x
            if frames is None:
                x = lstm(x)[0]
            else:
                packed = pack_padded_sequence(x, frames, enforce_sorted=False)
                x = pad_packed_sequence(lstm(packed)[0], total_length=x.shape[0])[0]
            x = projection(x)
        return x


class MaskMVDR(SavedModel[MaskMVDRConfig]):
    """Mixtures in, one beamformed waveform per speaker out, from any number of microphones (but for phase inputs).

    Where a single microphone hears anything there is nothing to steer: the speakers' masks are applied to it instead.
    """

    kind: ClassVar[str] = "mask_mvdr"
    usage: ClassVar[str] = "separate INPUT --model FOLDER"
    Config: ClassVar[type[Settings]] = MaskMVDRConfig

    def __init__(self, config: MaskMVDRConfig) -> None:
        super().__init__(config)
        self.stft = Stft(config.fft_size, config.hop)
        parts = 2 * config.microphones - 1 if config.input == "phase" else 1
        self.estimator = ProjectedBLSTM(parts * self.stft.frequencies, config.layers, config.lstm, config.projection)
        self.to_masks = Linear(config.projection, self.sources * self.stft.frequencies)

    def forward(self, mixture: Tensor, lengths: Tensor | None = None, aligned: bool = False) -> Tensor:
        """Separate mixtures.

        Args:
            mixture: audio, (B, M, N), of any number of microphones above `reference_microphone`.
            lengths: valid samples of each example, (B,); all of them where None.
            aligned: put the speakers' masks in one order over blocks of a second, for mixtures that are longer than
                what the estimator was trained with, and of several microphones.

        Returns:
            The speakers at the reference microphone, (B, S, N), in an order of the model's own; zero beyond `lengths`.

        Raises:
            SepasrError: where the reference microphone is not among the mixture's.
        """
        size = mixture.shape[2]
        lengths = differing(lengths, size)
        spectrum, level = self._analyse(mixture, lengths)
        masks = self._estimate(spectrum, lengths)
        with torch.autocast(mixture.device.type, enabled=False):
            alone = mixture.any(-1).sum(-1) <= 1
            at, speakers = self.config.reference_microphone, self.config.speakers
            if alone.all():
                separated = masks[:, :speakers] * spectrum[:, at, None]
            else:
                if aligned:
                    masks = self._aligned(masks, spectrum)
                separated = beamform(spectrum, masks, self.config)
                if alone.any():
                    masked = masks[:, :speakers] * spectrum[:, at, None]
                    separated = torch.where(alone[:, None, None, None], masked, separated)
            return self.stft.synthesise(separated, size, lengths) * level

    @property
    def takes(self) -> range:
        """The numbers of microphones that are taken."""
        return accepted(self.config, any_number=self.config.input != "phase")

    @property
    def sources(self) -> int:
        """How many masks there are."""
        return self.config.speakers + self.config.noise_mask

    def masks(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The masks of the speakers, then of the noise where it has one, of mixtures (B, M, N): (B, C, T, F).

        Raises:
            SepasrError: where the reference microphone is not among the mixture's.
        """
        lengths = differing(lengths, mixture.shape[2])
        return self._estimate(self._analyse(mixture, lengths)[0], lengths)

    def _analyse(self, mixture: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """The spectrum (B, M, T, F) of the mixture divided by its level, and that level (B, 1, 1)."""
        check_microphones(mixture.shape[1], self.takes)
        with torch.autocast(mixture.device.type, enabled=False):
            mixture = mixture.float()
            level = deviation(mixture, lengths) if self.config.unit_level else mixture.new_ones(len(mixture), 1, 1)
            return self.stft.analyse(mixture / level, lengths), level

    def _estimate(self, spectrum: Tensor, lengths: Tensor | None) -> Tensor:
        x = self._inputs(spectrum)
        batch, microphones, size, _ = x.shape
        frames = None if lengths is None else self.stft.frames(lengths)
        repeated = None if frames is None else frames.repeat_interleave(microphones).cpu()
        x = self.estimator(x.flatten(0, 1).transpose(0, 1), repeated)  # (T, B * M, projection)
        masks = MASKS[self.config.mask](self.to_masks(x).float())
        masks = masks.clamp(min=self.config.mask_floor) if self.config.mask_floor else masks
        masks = masks.unflatten(2, (self.sources, -1)).unflatten(1, (batch, microphones))
        masks = masks.mean(2).permute(1, 2, 0, 3)
        return masks if frames is None else masks * valid(frames, size)[:, None, :, None]

    def _aligned(self, masks: Tensor, spectrum: Tensor) -> Tensor:
        speakers, block = self.config.speakers, round(self.config.sample_rate / self.config.hop)
        own = align_masks(masks[:, :speakers], spectrum, block, self.config.reference_microphone)
        return torch.cat([own, masks[:, speakers:]], dim=1)

    def _inputs(self, spectrum: Tensor) -> Tensor:
        """What the estimator sees of (B, M, T, F), with one row for each time it is run: (B, M or 1, T, inputs)."""
        if self.config.input == "magnitude":
            return spectrum.abs()
        if self.config.input == "log":
            return spectrum.abs().log1p()
        at = self.config.reference_microphone
        reference = spectrum[:, at : at + 1]
        others = torch.cat([spectrum[:, :at], spectrum[:, at + 1 :]], dim=1)
        cross = others * reference.conj()
        difference = cross / (cross.abs() + EPSILON)
        missing = (0, 0, 0, 0, 0, self.config.microphones - spectrum.shape[1])
        directions = (functional.pad(part, missing) for part in (difference.real, difference.imag))
        parts = torch.cat([reference.abs().log1p(), *directions], dim=1)
        return parts.transpose(1, 2).flatten(2)[:, None]


def ratio_masks(sources: Tensor) -> Tensor:
    """Ratio masks: each source's share of the energies of all, in [0, 1]; zeros where all are silent.

    Y. Wang, A. Narayanan, D. Wang, "On Training Targets for Supervised Speech Separation" (IEEE/ACM TASLP 2014), the
    ratio mask with exponent 1.

    Args:
        sources: complex spectra, (B, C, T, F).

    Returns:
        Masks, (B, C, T, F).
    """
    energy = sources.abs().square()
    return energy / (energy.sum(1, keepdim=True) + EPSILON)


def beamform(spectrum: Tensor, masks: Tensor, config: MaskMVDRConfig) -> Tensor:
    """The MVDR filter for each speaker, from masks, applied to the mixture.

    A source's covariance is the mean over frames weighted by its mask; what a speaker is to be separated from is the
    sum of the covariances of all other speakers and of the noise. Computed in double precision, as nearly singular
    covariances are usual: few frames, closely spaced microphones, no noise.

    Args:
        spectrum: of the mixture, complex, (B, M, T, F).
        masks: of the speakers, then of the noise where there is one, (B, C, T, F).
        config: speakers, reference microphone, form of the filter and its loading.

    Returns:
        The speakers' complex spectra, (B, S, T, F); zeros where there is silence.
    """
    # Every frequency is by itself: on a CPU a few at a time, which stay in its caches.
    groups = -(-spectrum.shape[3] // CACHED_FREQUENCIES) if spectrum.device.type == "cpu" else 1
    parts = zip(spectrum.chunk(groups, dim=3), masks.chunk(groups, dim=3), strict=True)
    return torch.cat([_beamform(*part, config) for part in parts], dim=3)


def _beamform(spectrum: Tensor, masks: Tensor, config: MaskMVDRConfig) -> Tensor:
    precise = spectrum.to(torch.complex128).permute(0, 3, 1, 2)  # (B, F, M, T)
    weights = masks.double().permute(0, 1, 3, 2)  # (B, C, F, T)
    weights = weights / (weights.sum(-1, keepdim=True) + NOWHERE * weights.shape[-1])
    weighted = precise[:, None] * weights[:, :, :, None]
    covariance = weighted @ precise[:, None].mH  # (B, C, F, M, M)
    speech = covariance[:, : config.speakers]
    noise = covariance.sum(1, keepdim=True) - speech
    trace = noise.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    loading = config.diagonal_loading * trace + config.epsilon if config.diagonal_loading else SINGULAR + 0 * trace
    eye = torch.eye(noise.shape[-1], dtype=noise.dtype, device=noise.device)
    ratio, at = torch.linalg.solve(noise + loading[..., None, None] * eye, speech), config.reference_microphone
    if config.beamformer == "souden":
        total = ratio.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None]
        filters = ratio[..., at] / (total + config.epsilon)  # (B, S, F, M)
    else:
        rtf = ratio[..., at, None]
        for _ in range(config.power_iterations - 2):
            rtf = ratio @ rtf
        rtf = speech @ rtf  # (B, S, F, M, 1)
        filters = torch.linalg.solve(noise + SINGULAR * eye, rtf)
        denominator = (rtf.mH @ filters).real + config.epsilon
        filters = (filters * rtf[..., at, :, None].conj() / denominator)[..., 0]
    separated = torch.einsum("bsfm,bfmt->bstf", filters.conj(), precise)
    return separated.to(spectrum.dtype)
