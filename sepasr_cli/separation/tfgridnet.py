"""TF-GridNet: separation by complex spectral mapping, one estimate per speaker at the reference microphone.

Z.-Q. Wang et al., "TF-GridNet: Making Time-Frequency Domain Models Great Again for Monaural Speaker Separation"
(arXiv 2209.03952) and "TF-GridNet: Integrating Full- and Sub-Band Modeling for Speech Separation" (arXiv 2211.12433),
as used by arXiv 2307.12231.

Axes: B batch, S speaker, M microphone, N sample, T frame, F frequency, D feature (embedding), and within a block
H head, J window, K position within a window. Features stay in the order [B, T, F, D] throughout, so that windows are
strided views, the transposed convolutions are matrix products with overlap-add, and one product serves all heads.
"""

import math
from collections.abc import Callable
from itertools import zip_longest
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeInt, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from typing_extensions import Self

from sepasr_cli.onednn import Linear, linear, matmul
from sepasr_cli.saved_model import SavedModel
from sepasr_cli.separation.framing import cut, overlap_add
from sepasr_cli.separation.mask_mvdr import MaskMVDRConfig, beamform, ratio_masks
from sepasr_cli.separation.microphones import accepted, check_microphones
from sepasr_cli.separation.recomputation import recomputed
from sepasr_cli.separation.stft import Stft, deviation, differing, valid
from sepasr_cli.separation.wiener import explain, fitted, heard, wiener, with_rest
from sepasr_cli.settings import Settings

EPSILON = 1e-5
#: Sequences that an LSTM processes at once on each core of a CPU: enough to fill its units, few enough for its cache.
CACHED_ROWS = 64
#: Numbers of [B, T, F, D] that a slice of a long recording holds at most, for the sake of memory.
SLICE = 3_000_000
#: Loading of the noise covariance of the filters that estimates steer, as a part of its trace.
FILTER_LOADING = 1e-3
#: Power below which levels are not told apart, of spectra of audio at the level of 1.
CUE_FLOOR = 1e-2
POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


class TFGridNetConfig(Settings):
    """The sizes of a TF-GridNet; the defaults are those of arXiv 2307.12231, for two microphones."""

    kind: Literal["tfgridnet"] = "tfgridnet"
    sample_rate: int = Field(default=16000, gt=0)
    microphones: int = Field(default=2, gt=0)
    speakers: int = Field(default=2, gt=0, le=6)
    #: Index of the microphone at which the speakers are estimated.
    reference_microphone: int = Field(default=0, ge=0)
    #: Whether fewer microphones will do, down to the reference alone: the others' inputs are zeros then, as they are
    #: where a channel is silent. Training draws their number (`microphone_counts`).
    fewer_microphones: bool = False
    #: Whether the first convolution also hears levels and phase differences (`cues`).
    cues: bool = False
    fft_size: int = Field(default=512, ge=4, multiple_of=2)
    hop: int = Field(default=256, gt=0)
    blocks: int = Field(default=6, gt=0)
    embedding: int = Field(default=48, gt=0)
    #: Units of each LSTM in each direction.
    lstm: int = Field(default=192, gt=0)
    #: Neighbouring frequencies or frames that an LSTM sees at each step, and how far it moves.
    kernel: int = Field(default=4, gt=0)
    stride: int = Field(default=2, gt=0)
    heads: int = Field(default=4, gt=0)
    #: Approximate size of a frame's query and key; rounded up to a multiple of the frequencies.
    qk_size: int = Field(default=512, gt=0)
    activation: Literal["prelu", "relu", "gelu", "silu"] = "prelu"
    #: Whether the estimates of several microphones also steer MVDR and Wiener filters, and are averaged with what
    #: these give. There is nothing to learn in it: it may be set for a network that was trained without.
    beamform: bool = False
    #: Recompute all blocks in the backward pass, or that many from the first: a fourth of the memory for a quarter more
    #: time.
    checkpoint_activations: bool | NonNegativeInt = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.embedding % self.heads:
            raise ValueError(f"embedding {self.embedding} must be a multiple of heads {self.heads}")
        if self.reference_microphone >= self.microphones:
            found, microphones = self.reference_microphone, self.microphones
            raise ValueError(f"reference_microphone {found} must be below microphones {microphones}")
        if self.hop > self.fft_size // 2:
            raise ValueError(f"hop {self.hop} must be at most half of fft_size {self.fft_size}")
        if self.stride > self.kernel:
            raise ValueError(f"stride {self.stride} must be at most kernel {self.kernel}")
        return self


class Extent(NamedTuple):
    """Where the examples of a padded batch end."""

    keep: Tensor
    """1 for an example's own frames, 0 beyond: (B, T, 1, 1)."""
    attend: Tensor
    """Frames that may be attended to: boolean (B, 1, T)."""
    windows: Tensor
    """Windows along time of each example: (B,), on the CPU."""


def windows(size: int, kernel: int, stride: int) -> int:
    """How many windows cover that many frames or frequencies, the last of them perhaps beyond the end.

    >>> windows(257, kernel=4, stride=2)
    128
    """
    return -(-max(size - kernel, 0) // stride) + 1


def heard_parts(config: TFGridNetConfig) -> list[int]:
    """Channels of the first convolution: real parts, imaginary parts; with cues levels, cosines and sines.

    >>> heard_parts(TFGridNetConfig(microphones=4)), heard_parts(TFGridNetConfig(microphones=4, cues=True))
    ([4, 4], [4, 4, 4, 3, 3])
    """
    count = config.microphones
    return [count, count] + [count, count - 1, count - 1] * config.cues


def cues(spectrum: Tensor) -> Tensor:
    """What ears go by: the level of each microphone, and phase differences to the first one.

    Args:
        spectrum: complex, (B, M, T, F), at the level of 1.

    Returns:
        Natural logarithms of magnitudes, then cosines and sines of the differences: (B, M + 2 (M - 1), T, F).
    """
    magnitude = spectrum.abs()
    levels = (magnitude.square() + CUE_FLOOR).log() / 2
    across = spectrum[:, 1:] * spectrum[:, :1].conj() / (magnitude[:, 1:] * magnitude[:, :1] + EPSILON)
    return torch.cat([levels, across.real, across.imag], dim=1)


def averaged(estimates: Tensor, steered: Tensor, filtered: Tensor) -> Tensor:
    """Half the estimates, a quarter of what the MVDR filter gives and a quarter of the Wiener filter's."""
    return (2 * estimates + steered + filtered) / 4


class Activation(nn.Module):
    """A pointwise function of the last axis; PReLU learns one slope for each of `groups` (sizes along that axis)."""

    group: Tensor

    def __init__(self, name: str, groups: tuple[int, ...]) -> None:
        super().__init__()
        self.name = name
        if name == "prelu":
            self.slope = nn.Parameter(torch.full((len(groups),), 0.25))
            group = torch.arange(len(groups)).repeat_interleave(torch.tensor(groups))
            self.register_buffer("group", group, persistent=False)

    def forward(self, x: Tensor, channels: Tensor | slice = slice(None)) -> Tensor:
        """Of (..., C), or of those of the C `channels` that x holds."""
        if self.name == "prelu":
            with torch.autocast(x.device.type, enabled=False):  # which would round what comes in
                return functional.prelu(x.flatten(0, -2), self.slope[self.group[channels]]).view_as(x)
        return POINTWISE[self.name](x)


class GridPath(nn.Module):
    """Norm, windows along one axis of [B, T, F, D], BLSTM over them, transposed convolution back, residual.

    Along frequency this is the intra-frame full-band module, along time the sub-band temporal module.
    """

    def __init__(self, config: TFGridNetConfig, axis: Literal[1, 2]) -> None:
        super().__init__()
        size = config.embedding
        self.axis, self.kernel, self.stride = axis, config.kernel, config.stride
        self.norm = nn.LayerNorm(size, eps=EPSILON)
        self.lstm = nn.LSTM(self.kernel * size, config.lstm, bidirectional=True)
        self.deconvolution = Linear(2 * config.lstm, self.kernel * size, bias=False)
        self.bias = nn.Parameter(torch.empty(size))
        bound = 1 / math.sqrt(self.kernel * size)  # what nn.ConvTranspose1d draws from
        nn.init.uniform_(self.deconvolution.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, windows: Tensor | None = None, recompute: bool = False) -> Tensor:
        """The size along the axis must fit whole windows; `windows` (B,) where examples differ in their number.

        Without gradients `x` itself is changed, which saves memory in long recordings.
        """
        pieces = x.chunk(self._pieces(x), dim=3 - self.axis)
        if not torch.is_grad_enabled():
            for piece in pieces:
                added = self._path(piece, windows)
                overlap_add(piece.add_(self.bias), added, self.axis, self.stride)
            return x
        path = recomputed(self._path, self) if recompute else self._path
        return torch.cat(
            [overlap_add(piece + self.bias, path(piece, windows), self.axis, self.stride) for piece in pieces],
            dim=3 - self.axis,
        )

    @torch.no_grad()
    def begin_as(self, trained: "GridPath") -> None:
        """Take the weights of one with as many LSTM units or fewer; to the others nothing listens."""
        self.norm.load_state_dict(trained.norm.state_dict())
        self.bias.copy_(trained.bias)
        ours, theirs = self.lstm.hidden_size, trained.lstm.hidden_size
        for name, weight in self.lstm.named_parameters():
            known = trained.lstm.get_parameter(name).unflatten(0, (4, theirs))
            gates = weight.unflatten(0, (4, ours))[:, :theirs]
            if name.startswith("weight_hh"):
                gates[:, :, theirs:] = 0
                gates = gates[:, :, :theirs]
            gates.copy_(known)
        forward, backward = trained.deconvolution.weight.chunk(2, dim=1)
        nn.init.zeros_(self.deconvolution.weight)
        self.deconvolution.weight[:, :theirs] = forward
        self.deconvolution.weight[:, ours : ours + theirs] = backward

    def _pieces(self, x: Tensor) -> int:
        """In how many parts the rows beside the axis are processed: few enough at once for the caches of a CPU."""
        if x.device.type != "cpu":
            return 1
        rows = x.shape[0] * x.shape[3 - self.axis]
        return max(1, round(rows / (CACHED_ROWS * torch.get_num_threads())), x.numel() // SLICE)

    def _path(self, x: Tensor, windows: Tensor | None) -> Tensor:
        """What is added to [B, T, F, D] in each window along the axis: [J, B, other, K, D]."""
        batch, other = x.shape[0], x.shape[3 - self.axis]
        y = self.norm(x)
        if torch.is_autocast_enabled(x.device.type):  # before the windows are copied, not after
            y = y.to(torch.get_autocast_dtype(x.device.type))
        y = cut(y, self.axis, self.kernel, self.stride)
        steps = y.shape[0]
        if windows is None:
            y = self.lstm(y)[0]
        else:
            packed = pack_padded_sequence(y, windows.repeat_interleave(other), enforce_sorted=False)
            y = pad_packed_sequence(self.lstm(packed)[0], total_length=steps)[0]
        return self.deconvolution(y).view(steps, batch, other, self.kernel, -1)


class FrameAttention(nn.Module):
    """Cross-frame self-attention: each frame, over all its frequencies, attends to every frame; with residual."""

    def __init__(self, config: TFGridNetConfig, frequencies: int) -> None:
        super().__init__()
        size, self.heads = config.embedding, config.heads
        query = math.ceil(config.qk_size / frequencies)
        #: Channels of each head's query, key and value.
        self.widths = (query, query, size // self.heads)
        groups = tuple(width for width in self.widths for _ in range(self.heads))
        self.qkv = Linear(size, sum(groups))
        self.activation = Activation(config.activation, groups)
        self.gains = nn.ParameterList(torch.ones(self.heads, 1, frequencies, width) for width in self.widths)
        self.offsets = nn.ParameterList(torch.zeros(self.heads, 1, frequencies, width) for width in self.widths)
        self.projection = Linear(size, size)
        self.projection_activation = Activation(config.activation, (size,))
        self.projection_norm = nn.LayerNorm((frequencies, size), eps=EPSILON)

    def forward(self, x: Tensor, attend: Tensor | None = None, recompute: bool = False) -> Tensor:
        """Without gradients `x` itself is changed, in slices of frames, which saves memory in long recordings."""
        if torch.is_grad_enabled():
            added = recomputed(self._added, self) if recompute else self._added
            return x + added(x, attend)
        slices = x.numel() // SLICE + 1
        y = self._all_heads(x, attend)
        for piece, attended in zip(x.chunk(slices, dim=1), y.chunk(slices, dim=1), strict=True):
            piece += self._projected(attended)
        return x

    def _added(self, x: Tensor, attend: Tensor | None) -> Tensor:
        return self._projected(self._all_heads(x, attend))

    def _all_heads(self, x: Tensor, attend: Tensor | None) -> Tensor:
        kind = x.device.type
        y = x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
        return torch.cat([self._head(y, number, attend) for number in range(self.heads)], dim=-1)

    def _projected(self, y: Tensor) -> Tensor:
        return self.projection_norm(self.projection_activation(self.projection(y).float()))

    def _head(self, x: Tensor, number: int, attend: Tensor | None) -> Tensor:
        """What one head gives, (B, T, F, width of its values)."""
        starts = [sum(self.widths[:index]) * self.heads + number * width for index, width in enumerate(self.widths)]
        rows = torch.cat([torch.arange(start, start + width) for start, width in zip(starts, self.widths, strict=True)])
        y = self.activation(linear(x, self.qkv.weight[rows], self.qkv.bias[rows]).float(), rows)
        query, key, value = (
            functional.layer_norm(part, part.shape[2:], gain[number, 0], offset[number, 0], EPSILON).flatten(2)
            for part, gain, offset in zip(y.split(self.widths, dim=-1), self.gains, self.offsets, strict=True)
        )
        y = _attended(query, key, value, attend)  # [B, T, F * width]
        return y.unflatten(2, (x.shape[2], -1))


def _attended(query: Tensor, key: Tensor, value: Tensor, attend: Tensor | None) -> Tensor:
    """Scaled dot-product attention; PyTorch's own has no fast way on a CPU where values are wider than queries."""
    if torch.is_autocast_enabled(query.device.type):
        query, key, value = (part.to(torch.get_autocast_dtype(part.device.type)) for part in (query, key, value))
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, attend)
    scores = matmul(query, key.mT).float() / query.shape[-1] ** 0.5
    if attend is not None:
        scores = scores.masked_fill(~attend, -math.inf)
    return matmul(scores.softmax(-1).to(value.dtype), value)


class GridBlock(nn.Module):
    """Full-band path, sub-band path, cross-frame attention."""

    def __init__(self, config: TFGridNetConfig, frequencies: int) -> None:
        super().__init__()
        self.kernel, self.stride = config.kernel, config.stride
        self.full_band = GridPath(config, axis=2)
        self.sub_band = GridPath(config, axis=1)
        self.attention = FrameAttention(config, frequencies)

    def begin_as(self, trained: "GridBlock") -> None:
        """Take the weights of one with as many LSTM units or fewer, and give what it gives."""
        self.full_band.begin_as(trained.full_band)
        self.sub_band.begin_as(trained.sub_band)
        self.attention.load_state_dict(trained.attention.state_dict())

    def begin_silent(self) -> None:
        """Add nothing to what comes in."""
        norm = self.attention.projection_norm
        for path in (self.full_band, self.sub_band):
            nn.init.zeros_(path.deconvolution.weight)
            nn.init.zeros_(path.bias)
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)

    def forward(self, x: Tensor, extent: Extent | None = None, recompute: bool = False) -> Tensor:
        frames, frequencies = x.shape[1:3]
        if extent is not None:
            x = x * extent.keep
        missing = [
            (windows(size, self.kernel, self.stride) - 1) * self.stride + self.kernel - size
            for size in (frames, frequencies)
        ]
        if any(missing):
            x = functional.pad(x, (0, 0, 0, missing[1], 0, missing[0]))
        within, attend = (None, None) if extent is None else (extent.windows, extent.attend)
        x = self.full_band(x, None, recompute)[:, :, :frequencies]
        x = self.sub_band(x, within, recompute)[:, :frames].contiguous()
        return self.attention(x, attend, recompute)


class TFGridNet(SavedModel[TFGridNetConfig]):
    """Mixtures in, one waveform per speaker out; from fewer microphones than configured where so trained."""

    kind: ClassVar[str] = "tfgridnet"
    usage: ClassVar[str] = "separate INPUT --model FOLDER"
    Config: ClassVar[type[Settings]] = TFGridNetConfig

    def __init__(self, config: TFGridNetConfig) -> None:
        super().__init__(config)
        self.stft = Stft(config.fft_size, config.hop)
        self.encode = nn.Conv2d(sum(heard_parts(config)), config.embedding, 3, padding=1)
        self.encode_norm = nn.GroupNorm(1, config.embedding, eps=EPSILON)
        self.blocks = nn.ModuleList(GridBlock(config, self.stft.frequencies) for _ in range(config.blocks))
        self.decode = nn.ConvTranspose2d(config.embedding, 2 * config.speakers, 3, padding=1)
        # The input convolution tells microphones apart by position: the reference always comes first.
        self.order = list(range(config.microphones))
        self.order[0], self.order[config.reference_microphone] = config.reference_microphone, 0
        self.filters = MaskMVDRConfig(
            microphones=config.microphones, speakers=config.speakers, diagonal_loading=FILTER_LOADING
        )

    def begin_as(self, trained: "TFGridNet") -> None:
        """Take the weights of one of the same sizes or smaller, and give what it gives until trained further.

        The larger one may have more blocks, which add nothing at first; more LSTM units, which nothing listens to; and
        hear more, to which it is deaf (growth that keeps the function: T. Chen, I. Goodfellow, J. Shlens, "Net2Net:
        Accelerating Learning via Knowledge Transfer", arXiv 1511.05641).
        """
        pairs: zip_longest[tuple[GridBlock, GridBlock | None]] = zip_longest(self.blocks, trained.blocks)  # type: ignore[arg-type]
        for ours, theirs in pairs:
            if theirs is None:
                ours.begin_silent()
            else:
                ours.begin_as(theirs)
        known = trained.encode.state_dict()
        weight = torch.zeros_like(self.encode.weight)
        parts = known["weight"].split(heard_parts(trained.config), 1)
        for part, own in zip(parts, weight.split(heard_parts(self.config), 1), strict=False):
            own[:, : part.shape[1]] = part
        self.encode.load_state_dict(known | {"weight": weight})
        self.encode_norm.load_state_dict(trained.encode_norm.state_dict())
        self.decode.load_state_dict(trained.decode.state_dict())

    @property
    def takes(self) -> range:
        """The numbers of microphones that are taken."""
        return accepted(self.config)

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Separate mixtures.

        Args:
            mixture: audio, (B, M, N).
            lengths: valid samples of each example, (B,); all of them where None.

        Returns:
            The speakers at the reference microphone, (B, S, N), in an order of the model's own; zero beyond `lengths`.

        Raises:
            SepasrError: where the mixture has not the microphones that the model was made for.
        """
        size = mixture.shape[2]
        lengths = differing(lengths, size)
        estimates, spectrum, level = self._estimates(mixture, lengths)
        with torch.autocast(mixture.device.type, enabled=False):
            if self.config.beamform:
                estimates = averaged(*self._filtered(estimates, spectrum))
            return self.stft.synthesise(estimates, size, lengths) * level

    def _estimates(self, mixture: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Spectra (B, S, T, F), and those of the mixture (B, M, T, F) whose level (B, 1, 1) was taken from both."""
        channels = mixture.shape[1]
        check_microphones(channels, self.takes)
        # Audio keeps full precision outside the blocks; torch.complex knows no half precision either.
        with torch.autocast(mixture.device.type, enabled=False):
            mixture = mixture.float()
            level = deviation(mixture, lengths)
            mixture = functional.pad(mixture, (0, 0, 0, self.config.microphones - channels))
            spectrum = self.stft.analyse(mixture[:, self.order] / level, lengths)
            inputs = [spectrum.real, spectrum.imag] + [cues(spectrum)] * self.config.cues
            x = self.encode(torch.cat(inputs, dim=1))
            extent = None if lengths is None else self._extent(self.stft.frames(lengths), x.shape[2])
            x = self._normalise(x.permute(0, 2, 3, 1), extent)
        recompute = self.config.checkpoint_activations
        # The first blocks hold their memory longest.
        count = len(self.blocks) if recompute is True else recompute
        for index, block in enumerate(self.blocks):
            x = block(x, extent, recompute=index < count)
        with torch.autocast(mixture.device.type, enabled=False):
            x = x if extent is None else x * extent.keep
            x = self.decode(x.permute(0, 3, 1, 2)).unflatten(1, (self.config.speakers, 2))
            estimates = torch.complex(x[:, :, 0], x[:, :, 1])
            # The last convolution reaches a frame beyond an example's own.
            return estimates if extent is None else estimates * extent.keep[:, None, :, :, 0], spectrum, level

    def _filtered(self, estimates: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Estimates (B, S, T, F) at levels that explain the mixture's (B, M, T, F), and what they steer: MVDR, Wiener.

        Where one microphone hears anything, these are the estimates too.
        """
        estimates = explain(estimates, spectrum[:, 0])
        several = (heard(spectrum) > 1)[:, None, None, None]
        if not several.any():
            return estimates, estimates, estimates
        # The filters leave the estimates' scale open.
        masks = ratio_masks(with_rest(estimates, spectrum[:, 0]))
        steered = fitted(beamform(spectrum, masks, self.filters), estimates)
        filtered = wiener(estimates, spectrum)
        return estimates, torch.where(several, steered, estimates), torch.where(several, filtered, estimates)

    def _extent(self, frames: Tensor, size: int) -> Extent:
        mask = valid(frames, size)
        kernel, stride = self.config.kernel, self.config.stride
        counts = torch.tensor([windows(count, kernel, stride) for count in frames.tolist()])
        return Extent(mask[:, :, None, None].float(), mask[:, None], counts)

    def _normalise(self, x: Tensor, extent: Extent | None) -> Tensor:
        """`encode_norm` on [B, T, F, D], with statistics of an example's own frames alone."""
        if extent is None:
            x = functional.layer_norm(x, x.shape[1:], eps=EPSILON)
        else:
            count = extent.keep.sum((1, 2, 3), keepdim=True) * x.shape[2] * x.shape[3]
            mean = (x * extent.keep).sum((1, 2, 3), keepdim=True) / count
            x = (x - mean) * extent.keep
            x = x * torch.rsqrt(x.square().sum((1, 2, 3), keepdim=True) / count + EPSILON)
        return torch.addcmul(self.encode_norm.bias, x, self.encode_norm.weight)
