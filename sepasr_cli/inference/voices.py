"""Which stream a voice belongs to, told by pooled features of what each stream has said so far.

Letters: S speaker, N sample, T frame, D feature, C chunk of a fifth of a second. Features are those that the
recogniser hears, self-supervised or log-mel, less their mean over D, which is but loudness; they are pooled over
moments in which a stream speaks alone. They are computed only when asked for: what is kept is audio, some seconds each.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Audio (B, N) and its lengths (B,) to features (B, T, D) and theirs.
Features = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

#: Seconds of a chunk; seconds of speech kept of each stream, and needed at least to know a voice.
CHUNK, KEPT, NEEDED = 0.2, 20.0, 1.0
#: A stream speaks alone where it is 6 dB above all others together, and at most 20 dB below what is loud.
ALONE, LOUD = 4.0, 1e-2


class Voices:
    """The voices of a recording's streams.

    Args:
        features: what voices are told apart by.
        sample_rate: of the streams.
        device: where features are computed.
    """

    def __init__(self, features: Features, sample_rate: int, device: torch.device | str = "cpu") -> None:
        self.features, self.device = features, device
        self.chunk = round(CHUNK * sample_rate)
        self._heard: list[Tensor] = []
        # Five minutes tell what is loud.
        self._energies: deque[float] = deque(maxlen=round(300 / CHUNK))

    @property
    def level(self) -> float:
        """Mean square of loud speech so far; zero before any."""
        return float(np.quantile(self._energies, 0.9)) if self._energies else 0.0

    def loudest(self, signals: Tensor) -> float:
        """Mean square of the loudest chunk of signals (S, N); of all of them where they are shorter."""
        if signals.shape[1] < self.chunk:
            return float(signals.square().mean(1).max())
        return float(self._chunks(signals)[1].max())

    def hear(self, signals: Tensor) -> None:
        """Take in what follows of the streams, (S, n), in their order."""
        chunks, energy = self._chunks(signals)
        self._energies.extend(energy.amax(0).tolist())
        self._heard = self._heard or [signals.new_empty(0)] * len(signals)
        most = round(KEPT / CHUNK) * self.chunk
        self._heard = [
            torch.cat([before, own])[-most:]
            for before, own in zip(self._heard, self._alone(chunks, energy), strict=True)
        ]

    def distances(self, signals: Tensor) -> NDArray[np.float64] | None:
        """How far each stream's voice (rows) is from each of `signals`' (columns), squared, as shares of the total.

        A voice not known yet is as far from all others as they are on average. None where too little was said.
        """
        new = self._alone(*self._chunks(signals))
        rows, columns = [self._voice(own) for own in self._heard], [self._voice(own) for own in new]
        pairs = [[np.nan if a is None or b is None else float((a - b).square().sum()) for b in columns] for a in rows]
        found = np.array(pairs)
        if found.size == 0 or np.isnan(found).all():
            return None
        found = np.where(np.isnan(found), np.nanmean(found), found)
        return found / max(float(found.sum()), np.finfo(float).tiny)

    def _chunks(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """Signals (S, N) as chunks (S, C, n), what is left over at the end dropped, and their mean squares (S, C)."""
        count = signals.shape[1] // self.chunk
        chunks = signals[:, : count * self.chunk].unflatten(1, (count, self.chunk))
        return chunks, chunks.double().square().mean(2)

    def _alone(self, chunks: Tensor, energy: Tensor) -> list[Tensor]:
        """For each stream its chunks in which it speaks alone, one after the other."""
        others = energy.sum(0) - energy
        speaks = (energy > ALONE * others) & (energy > LOUD * self.level)
        return [own[mask].flatten() for own, mask in zip(chunks, speaks, strict=True)]

    @torch.inference_mode()
    def _voice(self, speech: Tensor) -> Tensor | None:
        """The pooled features (D,) of speech (N,), None where it is too little."""
        if len(speech) < NEEDED / CHUNK * self.chunk:
            return None
        audio = speech[None].to(self.device)
        features = self.features(audio, torch.tensor([len(speech)], device=self.device))[0][0].double()
        pooled = features.mean(0)
        return pooled - pooled.mean()
