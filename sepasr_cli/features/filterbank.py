"""Log-mel filterbank features. Letters: B batch, N sample, T frame, F frequency, D feature."""

from typing import Literal

import torch
import torchaudio.functional
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.separation.stft import reflect, valid
from sepasr_cli.settings import Settings

#: Power below which the logarithm is held; a silent frame gives log(1e-10).
FLOOR = 1e-10


class FilterbankConfig(Settings):
    """Sizes in samples, frequencies in Hz. The defaults are those of ESPnet's frontend but for its hop of 128."""

    kind: Literal["filterbank"] = "filterbank"
    mels: int = Field(80, gt=0)
    fft_size: int = Field(512, gt=1)
    window: int | None = Field(None, gt=1, description="Hann window length; None: fft_size")
    hop: int = Field(160, gt=0)
    low_hz: float = Field(0.0, ge=0)
    high_hz: float | None = Field(None, gt=0, description="None: half the sample rate")
    mel_scale: Literal["slaney", "htk"] = "slaney"
    area_normalised: bool = Field(True, description="filters of equal area, as librosa's norm='slaney'")
    edges: Literal["zeros", "mirror"] = Field("zeros", description="what continues the audio; mirror: as ESPnet's")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.window is not None and self.window > self.fft_size:
            raise ValueError(f"window {self.window} is longer than fft_size {self.fft_size}")
        if self.hop > (self.window or self.fft_size):
            raise ValueError(f"hop {self.hop} is longer than the window of {self.window or self.fft_size}")
        if self.high_hz is not None and self.high_hz <= self.low_hz:
            raise ValueError(f"high_hz {self.high_hz:g} must be above low_hz {self.low_hz:g}")
        return self


class Filterbank(nn.Module):
    """Natural logarithm of the mel-filtered power spectrum.

    Frame t is centred on sample t * hop; the audio is continued by zeros, or mirrored, on both sides of its own
    length, so that what an example gives does not depend on what it is batched with. Differentiable with respect to
    the audio.

    Raises:
        SepasrError: where the filters do not fit the sample rate.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, config: FilterbankConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = sample_rate
        self.size = config.mels
        high = config.high_hz or sample_rate / 2
        if not config.low_hz < high <= sample_rate / 2:
            raise SepasrError(
                f"features: filters from {config.low_hz:g} to {high:g} Hz asked for at a sample rate of "
                f"{sample_rate} Hz; set low_hz below high_hz, and high_hz to at most {sample_rate // 2}"
            )
        self.register_buffer("filters", _filters(config, high, sample_rate), persistent=False)
        window = config.window or config.fft_size
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def frame_times(self) -> tuple[float, float]:
        """The centre of the first frame and the distance of two, in seconds."""
        return 0.0, self.config.hop / self.sample_rate

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) of audio (B, N), zero beyond their lengths (B,), which are N // hop + 1."""
        half = self.config.fft_size // 2
        audio = (audio * valid(lengths, audio.shape[-1])).float()
        if self.config.edges == "mirror":
            lengths = lengths.clamp(min=half + 1)
            audio = reflect(audio, half, lengths)
        else:
            audio = functional.pad(audio, (half, half))
        spectrum = torch.stft(
            audio,
            self.config.fft_size,
            self.config.hop,
            window=self.window,
            win_length=len(self.window),
            center=False,
            return_complex=True,
        )
        power = (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2)
        # Half precision has no room for the range of powers.
        with torch.autocast(audio.device.type, enabled=False):
            features = (power @ self.filters).clamp(min=FLOOR).log()
        frame_lengths = lengths // self.config.hop + 1
        return features * valid(frame_lengths, features.shape[1])[..., None], frame_lengths


def _filters(config: FilterbankConfig, high: float, sample_rate: int) -> Tensor:
    """The filters (F, D), computed in double precision, for which torchaudio has no option."""
    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        filters = torchaudio.functional.melscale_fbanks(
            config.fft_size // 2 + 1,
            config.low_hz,
            high,
            config.mels,
            sample_rate,
            norm="slaney" if config.area_normalised else None,
            mel_scale=config.mel_scale,
        )
    finally:
        torch.set_default_dtype(usual)
    return filters.float()
