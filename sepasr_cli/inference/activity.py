"""When somebody speaks in each separated stream: spans to recognise, with silence and the others' leakage left out.

Letters: S speaker, N sample, F frame of 20 ms. Energies are mean squares of frames, smoothed over a tenth of a second;
what is loud and what is background is learnt from the last minute. Of each frame the mean products of all pairs of
streams are kept: energies, and how alike two streams are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from sepasr_cli.audio import Audio

#: Frames a second, and those that are remembered.
RATE, MEMORY = 50, 60 * 50
#: Frames over which energies are smoothed, and over which streams are compared.
SMOOTH, COMPARE = 5, 25
#: Speech is above its stream's background by a third of the range between background and loud, 3 to 9 dB: noise alone
#: has next to no range, speech without pauses loses but its weakest sounds. It is at most 26 dB below what is loud in
#: its stream, and 35 dB below what is in the loudest.
SHARE_OF_RANGE, LEAST_ABOVE, MOST_ABOVE, BELOW_LOUD, BELOW_LOUDEST = 1 / 3, 3.0, 9.0, 26.0, 35.0
#: What leaks of another stream is 12 dB below it, or 8 dB (over a whole span 4 dB) and not unlike: of this correlation.
FAR_BELOW, BELOW, SPAN_BELOW, ALIKE = 10**-1.2, 10**-0.8, 10**-0.4, 0.05
#: Frames of the longest pause within a span, of the shortest span, and added on either side to recognise it.
PAUSE, SHORTEST, AROUND = 25, 10, 10
#: A stream whose samples all stay below is silent (-100 dBFS).
SILENT = 1e-5


@dataclass(frozen=True)
class Span:
    """Samples in which a stream speaks: from `start` to `end`; from `first` to `last` with some silence around."""

    stream: int
    start: int
    end: int
    first: int
    last: int


class Activity:
    """Finds spans of speech in streams that come piece by piece.

    Args:
        streams: how many there are.
        sample_rate: of the streams.
        longest: seconds of the longest span; longer ones are cut where it is quietest.
    """

    def __init__(self, streams: int, sample_rate: int, longest: float) -> None:
        self.frame = max(sample_rate // RATE, 1)
        self.longest = max(round(longest * RATE), 2)
        self.samples = 0
        #: Samples of speech found so far in each stream.
        self.spoken = [0] * streams
        self._rest = np.zeros((streams, 0), np.float32)
        # Frames from number `_first` on; of those before `_decided` it is known who speaks.
        self._products = np.zeros((streams, streams, 0))
        self._active = np.zeros((streams, 0), bool)
        self._first = self._decided = 0
        # Frames of each stream whose spans are found.
        self._done = [0] * streams
        # Frames of each stream that belong to spans, silence around them included; no span takes them again.
        self._given = [0] * streams

    @property
    def needed(self) -> int:
        """The first sample that a span still to be found may hold."""
        return max(min(self._done) - AROUND, 0) * self.frame

    def push(self, signals: Audio) -> list[Span]:
        """Take in what follows, (S, n).

        Returns:
            The spans that are over, in the order of their starts.
        """
        self.samples += signals.shape[1]
        self._rest = np.concatenate([self._rest, signals], axis=1)
        frames = self._rest.shape[1] // self.frame
        self._extend(self._rest[:, : frames * self.frame])
        self._rest = self._rest[:, frames * self.frame :]
        return self._spans(self._first + self._products.shape[2] - COMPARE)

    def finish(self) -> list[Span]:
        """The spans that were still open at the end."""
        missing = -self._rest.shape[1] % self.frame
        # The last frame's mean is that of its samples.
        self._extend(np.pad(self._rest, ((0, 0), (0, missing)), mode="edge") if self._rest.size else self._rest)
        return self._spans(self._first + self._products.shape[2], last=True)

    def _extend(self, signals: Audio) -> None:
        frames = signals.astype(np.float64).reshape(len(signals), -1, self.frame)
        products = np.einsum("ifn,jfn->ijf", frames, frames) / self.frame
        self._products = np.concatenate([self._products, products], axis=2)

    def _spans(self, until: int, last: bool = False) -> list[Span]:
        """Decide on the frames before `until`, and give the spans that are over."""
        if until > self._decided:
            active = self._speaking()[:, self._decided - self._first : until - self._first]
            self._active = np.concatenate([self._active, active], axis=1)
            self._decided = until
        spans = [span for stream in range(len(self.spoken)) for span in self._over(stream, last)]
        for span in spans:
            self.spoken[span.stream] += span.end - span.start
        keep = max(min(*self._done, self._first + self._products.shape[2] - MEMORY) - self._first, 0)
        self._products, self._active = self._products[:, :, keep:], self._active[:, keep:]
        self._first += keep
        return sorted(spans, key=lambda span: (span.start, span.stream))

    def _speaking(self) -> NDArray[np.bool_]:
        """Which of the remembered frames hold speech of their own stream, (S, F)."""
        energy = np.einsum("iif->if", self._products)
        smooth = 10 * np.log10(uniform_filter1d(energy, SMOOTH, axis=1, mode="nearest").clip(SILENT**2))
        background, loud = np.quantile(smooth, (0.1, 0.95), axis=1)
        above = (SHARE_OF_RANGE * (loud - background)).clip(LEAST_ABOVE, MOST_ABOVE)
        threshold = np.maximum(background + above, np.maximum(loud - BELOW_LOUD, loud.max() - BELOW_LOUDEST))[:, None]
        wide = uniform_filter1d(self._products, COMPARE, axis=2, mode="nearest")
        return (smooth > threshold) & ~leaking(wide, BELOW)

    def _over(self, stream: int, last: bool) -> Iterator[Span]:
        """The spans of a stream that are over; what may go on stays."""
        active = self._active[stream, self._done[stream] - self._first :]
        offset = self._done[stream]
        edges = np.flatnonzero(np.diff(np.pad(active, 1).astype(np.int8)))
        starts, ends = edges[::2] + offset, edges[1::2] + offset
        apart = np.flatnonzero(starts[1:] - ends[:-1] >= PAUSE)
        runs = zip(starts[np.r_[0, apart + 1]], ends[np.r_[apart, -1]], strict=True) if len(starts) else ()
        self._done[stream] = self._decided if last else max(offset, self._decided - PAUSE)
        for start, end in runs:
            going_on = not last and end > self._decided - PAUSE
            while end - start > self.longest:
                middle = self._quietest(stream, start + self.longest // 2, start + self.longest)
                yield self._span(stream, start, middle, 0)
                start = middle
            if going_on:
                self._done[stream] = start
            elif end - start >= SHORTEST and not self._leaks(stream, start, end):
                yield self._span(stream, start, end, AROUND)

    def _leaks(self, stream: int, start: int, end: int) -> bool:
        products = self._products[:, :, start - self._first : end - self._first].sum(2, keepdims=True)
        return bool(leaking(products, SPAN_BELOW)[stream, 0])

    def _quietest(self, stream: int, first: int, last: int) -> int:
        smooth = uniform_filter1d(self._products[stream, stream], SMOOTH, mode="nearest")
        return first + int(smooth[first - self._first : last - self._first].argmin())

    def _span(self, stream: int, start: int, end: int, after: int) -> Span:
        first = max(start - AROUND, self._given[stream], 0)
        self._given[stream] = end + after
        bounds = (min(int(frame) * self.frame, self.samples) for frame in (start, end, first, end + after))
        return Span(stream, *bounds)


def leaking(products: NDArray[np.float64], below: float) -> NDArray[np.bool_]:
    """Which streams are but what leaks of the loudest other one, (S, F), from the products of all pairs, (S, S, F)."""
    streams = len(products)
    if streams == 1:
        return np.zeros((1, products.shape[2]), bool)
    # Of silence after speech a running mean leaves a trace, which may be negative.
    energy = np.einsum("iif->if", products).clip(min=0)
    others = np.where(np.eye(streams, dtype=bool)[:, :, None], -np.inf, energy[None])
    loudest = others.argmax(1)[:, None]
    level = np.take_along_axis(others, loudest, 1)[:, 0]
    alike = np.abs(np.take_along_axis(products, loudest, 1)[:, 0]) > ALIKE * np.sqrt(energy * level)
    return (energy < FAR_BELOW * level) | (energy < below * level) & alike
