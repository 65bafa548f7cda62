"""The short-time Fourier transform, safe in padded batches, and what both separators need around it.

Axes: B batch, M microphone, N sample, T frame, F frequency. `lengths` are the valid samples of each example, (B,).
In a padded batch every example is treated as if it were alone: reflection happens at its own end, frames and
samples beyond it are zero, and statistics leave the padding out.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

#: The window energy below which synthesis fades instead of dividing (the window's peak is 1).
ENVELOPE_FLOOR = 1e-2
#: The deviation below which audio counts as silent; float32 audio of 24 bits starts at 1e-7.
SILENCE = 1e-8

Count = TypeVar("Count", int, Tensor)


def differing(lengths: Tensor | None, size: int) -> Tensor | None:
    """`lengths`, or None where all of them equal `size`, so that masking costs nothing where it does nothing.

    >>> differing(torch.tensor([8, 8]), 8) is None
    True
    """
    if lengths is None or bool((lengths == size).all()):
        return None
    return lengths


def valid(lengths: Tensor, size: int) -> Tensor:
    """Which positions belong to each example: (B,) to boolean (B, size).

    >>> valid(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def deviation(audio: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The standard deviation of (B, M, N) over valid samples of the microphones that hear something, (B, 1, 1).

    Never below `SILENCE`, so that dividing silence by it gives zeros and finite gradients.
    """
    mask = audio.any(-1, keepdim=True)
    if lengths is not None:
        mask = mask & valid(lengths, audio.shape[2])[:, None]
    audio = torch.where(mask, audio, 0)
    count = mask.expand_as(audio).sum((1, 2), keepdim=True).clamp(min=1)
    centred = torch.where(mask, audio - audio.sum((1, 2), keepdim=True) / count, 0)
    variance = centred.square().sum((1, 2), keepdim=True) / (count - 1).clamp(min=1)
    return variance.clamp(min=SILENCE**2).sqrt()


def reflect(rows: Tensor, size: int, lengths: Tensor | None = None) -> Tensor:
    """Audio (B, N) continued by `size` samples, mirrored, on both sides of each example's own: (B, N + 2 * size).

    An example too short to be mirrored (`size` samples or fewer) is first extended with zeros; those beyond `lengths`
    must be zero already.
    """
    if rows.shape[1] <= size:
        rows = functional.pad(rows, (0, size + 1 - rows.shape[1]))
    if lengths is None:
        return functional.pad(rows[:, None], (size, size), mode="reflect")[:, 0]
    last = lengths.clamp(min=size + 1)[:, None] - 1
    source = torch.arange(-size, rows.shape[1] + size, device=rows.device).abs()[None]
    source = torch.where(source > last, 2 * last - source, source).clamp(0, rows.shape[1] - 1)
    return rows.gather(1, source)


class Stft(nn.Module):
    """A centred transform with a periodic Hann window, reflecting at the ends, and its inverse.

    Args:
        fft_size: samples of the window and of the transform; even. Gives fft_size // 2 + 1 frequencies.
        hop: samples between frames, at most fft_size // 2.
    """

    window: Tensor

    def __init__(self, fft_size: int, hop: int) -> None:
        super().__init__()
        assert fft_size % 2 == 0 and 0 < hop <= fft_size // 2, (fft_size, hop)
        self.fft_size, self.hop = fft_size, hop
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    @property
    def frequencies(self) -> int:
        return self.fft_size // 2 + 1

    def frames(self, samples: Count) -> Count:
        """The number of frames of that many samples, or of each of (B,) such numbers.

        >>> Stft(512, 256).frames(16000)
        63
        """
        if isinstance(samples, int):
            return 1 + max(samples, self.frequencies) // self.hop
        return 1 + samples.clamp(min=self.frequencies) // self.hop

    def analyse(self, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Audio (B, ..., N) to a complex spectrum (B, ..., T, F).

        An example too short to reflect (fewer than fft_size // 2 + 1 samples) is extended with zeros to that length.
        """
        lead, size = audio.shape[:-1], audio.shape[-1]
        rows, half = audio.reshape(-1, size), self.fft_size // 2
        lengths = differing(lengths, size)
        if lengths is not None:
            lengths = lengths.view(-1, *[1] * (len(lead) - 1)).expand(lead).reshape(-1)
            rows = torch.where(valid(lengths, size), rows, 0)
        rows = reflect(rows, half, lengths)
        window = self.window.to(rows.dtype)
        spectrum = torch.stft(
            rows, self.fft_size, self.hop, window=window, center=False, onesided=True, return_complex=True
        ).transpose(1, 2)
        if lengths is not None:
            spectrum = spectrum * valid(self.frames(lengths), spectrum.shape[1])[:, :, None]
        return spectrum.unflatten(0, lead)

    def synthesise(self, spectrum: Tensor, length: int, lengths: Tensor | None = None) -> Tensor:
        """A complex spectrum (B, ..., T, F) to audio (B, ..., length), zero beyond each example's `lengths`.

        Overlapping windows are divided by their summed energy. Where `length` is no multiple of the hop, the window's
        vanishing tail alone covers the end; there the audio fades, where dividing would blow up the smallest error.
        """
        lead = spectrum.shape[:-2]
        frames = torch.fft.irfft(spectrum.flatten(0, -3), n=self.fft_size, dim=-1)
        window = self.window.to(frames.dtype)
        frames = frames * window
        energy = window.square().expand(1, frames.shape[1], -1)
        lengths = differing(lengths, length)
        if lengths is not None:
            lengths = lengths.view(-1, *[1] * (len(lead) - 1)).expand(lead).reshape(-1)
            mask = valid(self.frames(lengths), frames.shape[1])[:, :, None]
            frames, energy = frames * mask, energy * mask
        audio = self._overlap_add(frames, length) / self._overlap_add(energy, length).clamp(min=ENVELOPE_FLOOR)
        if lengths is not None:
            audio = audio * valid(lengths, length)
        return audio.unflatten(0, lead)

    def _overlap_add(self, frames: Tensor, length: int) -> Tensor:
        """Windows (B, T, fft_size) to (B, length)."""
        total = (frames.shape[1] - 1) * self.hop + self.fft_size
        half = self.fft_size // 2
        assert half + length <= total, (frames.shape, length)
        audio = functional.fold(frames.transpose(1, 2), (total, 1), (self.fft_size, 1), stride=(self.hop, 1))
        return audio[:, 0, half : half + length, 0]
