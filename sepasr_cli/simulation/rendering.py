"""Makes the audio of a mixture from its manifest line: the line alone decides every sample.

Letters: S speaker, M microphone, N sample, K sample of a room response. A mixture ends where its last speaker does;
what would still sound in the room then is cut off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from sepasr_cli.audio import Audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Utterance
from sepasr_cli.randomness import generator
from sepasr_cli.simulation.config import FolderNoise, SimulationConfig
from sepasr_cli.simulation.noise import make_noise
from sepasr_cli.simulation.responses import ResponseBank, Responses, responses
from sepasr_cli.simulation.sampling import (
    NoiseFile,
    Placement,
    draw_levels,
    draw_noise,
    draw_placement,
    noise_files,
)

__all__ = ["Rendered", "ResponseBank", "Responses", "mix", "mix_on_the_fly", "render", "responses"]

#: No sample of any signal of a mixture passes this.
PEAK = 0.9

#: Below this RMS level a signal has none that could be set.
_SILENCE = 1e-7


@dataclass(frozen=True)
class Rendered:
    """A mixture's signals; mixture = images + noise. `direct`, `early`, `image` are at the reference microphone."""

    #: (M, N)
    mixture: Audio
    #: (S, N)
    direct: Audio
    #: (S, N)
    early: Audio
    #: (S, N)
    image: Audio
    #: (M, N)
    noise: Audio
    #: Factor on each speaker's samples, (S,).
    gains: tuple[float, ...]


def mix(
    signals: Sequence[Audio],
    placement: Placement,
    levels_db: Sequence[float],
    room: Responses,
    *,
    reference_microphone: int = 0,
    level_dbfs: float = -25.0,
    noise: Audio | None = None,
    snr_db: float = 0.0,
) -> Rendered:
    """Put dry signals, each (N',), into a room and add noise (M, N).

    At the reference microphone each image, while its speaker is active, has its level against the first's, and the
    noise its ratio to the sum of images; then all is scaled to `level_dbfs`, or to a peak of 0.9 where that is less.
    What is silent stays silent.
    """
    length, reference = placement.total, reference_microphone
    dry = np.zeros((len(signals), length), np.float32)
    for row, signal, start, kept in zip(dry, signals, placement.starts, placement.lengths, strict=True):
        row[start : start + kept] = signal[:kept]
    blocks = _Blocks(dry, room.image.shape[-1])
    image = blocks.convolve(room.image[:, reference])
    gains = np.ones(len(signals), np.float32)
    for s, (start, kept) in enumerate(zip(placement.starts, placement.lengths, strict=True)):
        level = _rms(image[s, start : start + kept])
        gains[s] = 10 ** (levels_db[s] / 20) / level if level > _SILENCE else 1.0
    blocks.spectra *= gains[:, None, None]
    image *= gains[:, None]
    speech = np.stack([blocks.convolve_and_add(room.image[:, m]) for m in range(room.image.shape[1])])
    if noise is None:
        noise = np.zeros_like(speech)
    else:
        level = _rms(noise[reference])
        noise = noise * np.float32(_rms(speech[reference]) / level * 10 ** (-snr_db / 20) if level > 0 else 0.0)
    mixture = speech + noise
    if room.image is room.direct:
        direct = early = image
    else:
        direct, early = (blocks.convolve(part[:, reference]) for part in (room.direct, room.early))
    peak = max(float(np.abs(signal).max()) for signal in (mixture, noise, image, early, direct))
    level = _rms(mixture[reference])
    scale = np.float32(min(10 ** (level_dbfs / 20) / level, PEAK / peak) if level > 0 else 1.0)
    return Rendered(
        mixture * scale,
        direct * scale,
        early * scale,
        image * scale,
        noise * scale,
        tuple(float(gain * scale) for gain in gains),
    )


class _Blocks:
    """Signals (S, N) ready to be convolved, in blocks (overlap-add), with filters of up to `taps` samples."""

    def __init__(self, signals: Audio, taps: int) -> None:
        self.length = signals.shape[-1]
        self.size = fft.next_fast_len(max(5 * taps // 2, 4096), real=True)
        #: Samples of a block; what the filters add to it overlaps the next.
        self.hop = self.size - taps + 1
        blocks = -(-self.length // self.hop)
        padded = np.pad(signals, ((0, 0), (0, blocks * self.hop - self.length)))
        #: (S, blocks, frequencies)
        self.spectra = fft.rfft(padded.reshape(len(signals), blocks, self.hop), self.size)

    def convolve(self, filters: Audio) -> Audio:
        """Each signal with its own of the filters (S, K): (S, N)."""
        return np.stack([self._joined(own[None], one[None]) for own, one in zip(self.spectra, filters, strict=True)])

    def convolve_and_add(self, filters: Audio) -> Audio:
        """The sum over the signals, each convolved with its own of the filters (S, K): (N,)."""
        return self._joined(self.spectra, filters)

    def _joined(self, spectra: NDArray[np.complex64], filters: Audio) -> Audio:
        # Signals add up before the way back to the time domain.
        blocks = fft.irfft(np.einsum("sbf,sf->bf", spectra, fft.rfft(filters, self.size)), self.size)
        joined = np.zeros((len(blocks) - 1) * self.hop + self.size, np.float32)
        for start, block in zip(range(0, len(joined), self.hop), blocks, strict=False):
            joined[start : start + self.size] += block
        return joined[: self.length]


def _rms(signal: Audio) -> float:
    return float(np.sqrt(np.mean(signal.astype(np.float64) ** 2)))


def render(mixture: Mixture, utterances: Mapping[str, Utterance], noise_folder: Path | None = None) -> Rendered:
    """Make the audio of a manifest line. `utterances` holds at least those that the line names, by their ids.

    Raises:
        SepasrError: naming the mixture, where an utterance or recording is missing or unusable.
    """
    from sepasr_cli.corpora import read_speech

    rate = mixture.sample_rate
    if mixture.room is None:
        raise SepasrError(f"{mixture.id}: the manifest tells no room; only simulated mixtures can be rendered again")
    try:
        signals = []
        for source in mixture.sources:
            if source.utterance not in utterances:
                raise SepasrError(
                    f"utterance '{source.utterance}' is not in the corpus; use the corpus it was drawn from"
                )
            signal = read_speech(utterances[source.utterance], rate).reshape(-1)
            kept = round((source.end - source.start) * rate)
            first = round(source.offset * rate)
            if len(signal) < first + kept:
                raise SepasrError(
                    f"utterance '{source.utterance}' has {len(signal)} samples at {rate} Hz, {first + kept} needed; "
                    "its file has changed since the corpus was read"
                )
            signals.append(signal[first : first + kept])
            if _rms(signals[-1]) <= _SILENCE:
                raise SepasrError(f"utterance '{source.utterance}' is silent; leave it out of the corpus")
        length = round(mixture.duration * rate)
        noise = None
        if mixture.noise is not None:
            rng = generator(mixture.seed, mixture.id, "noise")
            noise = make_noise(mixture.noise, rng, np.array(mixture.room.microphones), length, rate, noise_folder)
        return mix(
            signals,
            Placement(
                tuple(round(source.start * rate) for source in mixture.sources),
                tuple(len(signal) for signal in signals),
                length,
            ),
            [source.level_db for source in mixture.sources],
            responses(mixture.room, rate),
            reference_microphone=mixture.reference_microphone,
            level_dbfs=mixture.level_dbfs,
            noise=noise,
            snr_db=mixture.noise.snr_db if mixture.noise else 0.0,
        )
    except SepasrError as error:
        raise SepasrError(f"{mixture.id}: {error}") from error


def mix_on_the_fly(
    config: SimulationConfig,
    rng: np.random.Generator,
    signals: Sequence[Audio],
    rooms: ResponseBank | Responses,
    sample_rate: int,
) -> Rendered:
    """Draw a room, overlap, levels and noise (of the train split) for dry signals, each (N',), and mix them.

    Raises:
        SepasrError: where the rooms are for other speakers, microphones or rates, or a noise recording is unusable.
    """
    room = rooms.draw(rng) if isinstance(rooms, ResponseBank) else rooms
    if not len(signals) == len(room.image) == config.speakers or room.sample_rate != sample_rate:
        raise SepasrError(
            f"room responses are for {len(room.image)} speakers at {room.sample_rate} Hz, needed for {len(signals)} "
            f"at {sample_rate} Hz (simulation.speakers is {config.speakers}); run `sepasr simulate` with this recipe"
        )
    if config.reference_microphone >= len(room.microphones):
        raise SepasrError(
            f"room responses are for {len(room.microphones)} microphones, reference_microphone is "
            f"{config.reference_microphone}; run `sepasr simulate` with this recipe"
        )
    placement = draw_placement(config, rng, [len(signal) for signal in signals])
    levels = draw_levels(config, rng)
    folder: Path | None = None
    noises: Sequence[NoiseFile] = ()
    if isinstance(config.noise, FolderNoise):
        folder, noises = config.noise.path, _training_noises(config.noise.model_dump_json())
    drawn = draw_noise(config, rng, noises)
    noise = None
    if drawn is not None:
        noise = make_noise(drawn, rng, room.microphones, placement.total, room.sample_rate, folder)
    return mix(
        signals,
        placement,
        levels,
        room,
        reference_microphone=config.reference_microphone,
        level_dbfs=config.level_dbfs,
        noise=noise,
        snr_db=drawn.snr_db if drawn else 0.0,
    )


@lru_cache(maxsize=4)
def _training_noises(noise: str) -> tuple[NoiseFile, ...]:
    """The recordings for training by a noise configuration in JSON; listed once, not for every mixture."""
    return tuple(noise_files(FolderNoise.model_validate_json(noise), "train"))
