"""Draws the parameters of mixtures: who speaks, when, how loud, in which room, over which noise.

Letters: S speaker, M microphone, N sample. Every draw depends on the seed, the split and the example's id alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Noise, Point, Room, Source, Split, Utterance
from sepasr_cli.randomness import generator
from sepasr_cli.simulation.config import (
    ArrayConfig,
    CircularArray,
    FolderNoise,
    LinearArray,
    NoiseConfig,
    SimulationConfig,
    feasible_t60,
)

__all__ = [
    "NoiseFile",
    "Placement",
    "SimulationConfig",
    "check_disjoint",
    "draw",
    "draw_levels",
    "draw_noise",
    "draw_placement",
    "draw_room",
    "noise_files",
]

_ATTEMPTS = 5000


@dataclass(frozen=True)
class NoiseFile:
    """A noise recording: its name relative to the noise folder and its length in seconds."""

    name: str
    duration: float


@dataclass(frozen=True)
class Placement:
    """Where utterances lie in a mixture, in samples: where each starts, how much of each is kept, the whole length."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    total: int


def check_disjoint(utterances: Mapping[Split, Sequence[Utterance]]) -> None:
    """See that no speaker is in two splits.

    Raises:
        SepasrError: naming the speakers found in more than one split.
    """
    speakers = {split: {utterance.speaker for utterance in found} for split, found in utterances.items()}
    splits = list(speakers)
    for i, first in enumerate(splits):
        for second in splits[i + 1 :]:
            shared = sorted(speakers[first] & speakers[second])
            if shared:
                names = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
                raise SepasrError(
                    f"{len(shared)} speakers are in both {first} and {second}: {names}; "
                    "give every speaker to one split (`speakers` or `exclude` of the corpora)"
                )


def noise_files(noise: NoiseConfig | None, split: Split) -> list[NoiseFile]:
    """The recordings a split may use; empty where the noise comes from no folder.

    Raises:
        SepasrError: where the folder is missing or nothing in it is left for this split.
    """
    if not isinstance(noise, FolderNoise):
        return []
    if not noise.path.is_dir():
        raise SepasrError(f"{noise.path}: no such folder of noise recordings; check simulation.noise.path")
    found = audio.find(noise.path)
    names = {path.relative_to(noise.path).as_posix(): path for path in found}
    include, exclude = noise.include.get(split, ("*",)), noise.exclude.get(split, ())
    kept = [
        name
        for name in names
        if any(fnmatch(name, pattern) for pattern in include) and not any(fnmatch(name, pattern) for pattern in exclude)
    ]
    if not found:
        raise SepasrError(f"{noise.path}: holds no audio; expected recordings of noise, check simulation.noise.path")
    if not kept:
        raise SepasrError(
            f"{noise.path}: {len(found)} recordings, none left for {split}; check simulation.noise.include and exclude"
        )
    return [NoiseFile(name, audio.info(names[name]).duration) for name in kept]


def draw(
    config: SimulationConfig,
    utterances: Sequence[Utterance],
    split: Split,
    seed: int,
    sample_rate: int,
    noises: Sequence[NoiseFile] = (),
) -> list[Mixture]:
    """Draw the mixtures of a split. Speakers within one differ; every utterance is used before any is used again.

    (Where one speaker has more than 1/S of all utterances, those of the others are used again sooner.)

    Raises:
        SepasrError: where the split has fewer speakers than a mixture needs, or no room could be drawn.
    """
    count = config.mixtures.get(split, 0)
    usable = [u for u in utterances if config.min_duration <= u.duration <= config.max_duration]
    speakers = {utterance.speaker for utterance in usable}
    if count and len(speakers) < config.speakers:
        left_out = len(utterances) - len(usable)
        raise SepasrError(
            f"{split}: {len(speakers)} speakers with {len(usable)} utterances ({left_out} outside "
            f"{config.min_duration:g}-{config.max_duration:g} s), {config.speakers} needed in every mixture; "
            "add speakers, lower simulation.speakers or change min_duration and max_duration"
        )
    deck = _Deck(usable, config.speakers, seed, split)
    mixtures = []
    for index in range(count):
        name = f"{split}_{index:05d}"
        rng = generator(seed, split, name)
        mixtures.append(_draw_one(config, deck.deal(), split, name, seed, sample_rate, noises, rng))
    return mixtures


def _draw_one(
    config: SimulationConfig,
    chosen: list[Utterance],
    split: Split,
    name: str,
    seed: int,
    sample_rate: int,
    noises: Sequence[NoiseFile],
    rng: np.random.Generator,
) -> Mixture:
    lengths = [samples_of(utterance, sample_rate) for utterance in chosen]
    placement = draw_placement(config, rng, lengths)
    levels = draw_levels(config, rng)

    def file(kind: str) -> str:
        return f"{split}/{name}/{kind}.{config.format}"

    def references(number: int) -> dict[str, Any]:
        return {kind: file(f"s{number}_{kind}") for kind in config.references}

    sources = tuple(
        Source(
            speaker=utterance.speaker,
            text=utterance.text,
            utterance=utterance.id,
            start=start / sample_rate,
            end=(start + length) / sample_rate,
            level_db=level,
            **references(number),
        )
        for number, (utterance, start, length, level) in enumerate(
            zip(chosen, placement.starts, placement.lengths, levels, strict=True), 1
        )
    )
    return Mixture(
        id=name,
        audio=file("mixture"),
        sample_rate=sample_rate,
        duration=placement.total / sample_rate,
        sources=sources,
        reference_microphone=config.reference_microphone,
        room=draw_room(config, rng),
        noise=draw_noise(config, rng, noises),
        noise_audio=file("noise") if config.noise else None,
        level_dbfs=config.level_dbfs,
        seed=seed,
    )


def samples_of(utterance: Utterance, sample_rate: int) -> int:
    """Samples of an utterance once it is read and resampled to `sample_rate`."""
    rate = utterance.sample_rate
    end = utterance.start + utterance.duration if utterance.end is None else utterance.end
    own = round(end * rate) - round(utterance.start * rate)
    return -(-own * sample_rate // rate)


def draw_placement(config: SimulationConfig, rng: np.random.Generator, lengths: Sequence[int]) -> Placement:
    """Draw where utterances of these lengths in samples start, and how much of each is kept."""
    if config.overlap == "min":
        shortest = min(lengths)
        return Placement((0,) * len(lengths), (shortest,) * len(lengths), shortest)
    if config.overlap == "max":
        return Placement((0,) * len(lengths), tuple(lengths), max(lengths))
    starts = [0]
    for before, length in pairwise(lengths):
        shared = round(rng.uniform(*config.overlap) * min(before, length))
        starts.append(starts[-1] + before - shared)
    return Placement(
        tuple(starts), tuple(lengths), max(start + length for start, length in zip(starts, lengths, strict=True))
    )


def draw_levels(config: SimulationConfig, rng: np.random.Generator) -> tuple[float, ...]:
    """Draw the level of each speaker against the first, in dB."""
    return (0.0, *(round(float(rng.uniform(*config.level_db)), 3) for _ in range(config.speakers - 1)))


def draw_noise(config: SimulationConfig, rng: np.random.Generator, noises: Sequence[NoiseFile]) -> Noise | None:
    """Draw the signal-to-noise ratio and, for recordings, which one and where in it."""
    if config.noise is None:
        return None
    snr = round(float(rng.uniform(*config.noise.snr_db)), 3)
    if config.noise.kind != "folder":
        return Noise(kind=config.noise.kind, snr_db=snr)
    if config.noise.synthetic and rng.random() < config.noise.synthetic:
        return Noise(kind="diffuse", snr_db=snr)
    chosen = noises[int(rng.integers(len(noises)))]
    return Noise(kind="folder", snr_db=snr, file=chosen.name, offset=round(float(rng.uniform(0, chosen.duration)), 4))


def draw_room(config: SimulationConfig, rng: np.random.Generator) -> Room:
    """Draw a room that can have its reverberation time, the array in it, and speakers around the array.

    What does not fit is drawn anew as a whole, so the results are uniform over what is possible within the request.

    Raises:
        SepasrError: where nothing fits in thousands of attempts.
    """
    wanted = config.room
    clearance, reach = config.wall_clearance, config.array.reach
    for _ in range(_ATTEMPTS):
        size = _point(rng.uniform(low, high) for low, high in wanted.size)
        t60 = None
        if wanted.t60 is not None and not (wanted.anechoic and rng.random() < wanted.anechoic):
            t60 = round(float(rng.uniform(*wanted.t60)), 3)
            shortest, longest = feasible_t60(size)
            if not shortest < t60 < longest:
                continue
        inset = clearance + reach
        if min(size[:2]) <= 2 * inset:
            continue
        centre = np.array([*(rng.uniform(inset, side - inset) for side in size[:2]), rng.uniform(*config.array.height)])
        microphones = centre + _array_shape(config.array, rng)
        sources = _draw_sources(config, rng, centre)
        points = np.vstack([microphones, sources])
        if (points < clearance).any() or (points > np.array(size) - clearance).any():
            continue
        if _smallest_angle(sources - centre) < config.min_angle:
            continue
        return Room(size=size, t60=t60, microphones=_points(microphones), sources=_points(sources))
    raise SepasrError(
        f"no room found in {_ATTEMPTS} attempts for {config.speakers} speakers "
        f"{config.distance[0]:g}-{config.distance[1]:g} m from the array, {config.min_angle:g} degrees apart "
        f"and {clearance:g} m off the walls; enlarge simulation.room.size or lower distance, min_angle, wall_clearance"
    )


def _array_shape(array: ArrayConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Positions of the microphones about the centre, (M, 3), in metres."""
    count = array.microphones
    turn = rng.uniform(0, 2 * math.pi)
    if isinstance(array, CircularArray):
        angles = turn + 2 * math.pi * np.arange(count) / count
        return rng.uniform(*array.radius) * np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
    if isinstance(array, LinearArray):
        along = rng.uniform(*array.spacing) * (np.arange(count) - (count - 1) / 2)
        return np.outer(along, [math.cos(turn), math.sin(turn), 0.0])
    if array.positions is None:
        extent = rng.uniform(*array.extent)
        return rng.uniform(-extent / 2, extent / 2, (count, 3))
    cos, sin = math.cos(turn), math.sin(turn)
    return np.array(array.positions) @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _draw_sources(
    config: SimulationConfig, rng: np.random.Generator, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positions (S, 3) at drawn distances and heights; outside of every room where the two contradict each other."""
    sources = np.empty((config.speakers, 3))
    for source in sources:
        distance, height = rng.uniform(*config.distance), rng.uniform(*config.source_height)
        angle = rng.uniform(0, 2 * math.pi)
        along = distance**2 - (height - centre[2]) ** 2
        if along < 0:
            source[:] = -1.0
            continue
        source[:2] = centre[:2] + math.sqrt(along) * np.array([math.cos(angle), math.sin(angle)])
        source[2] = height
    return sources


def _smallest_angle(directions: NDArray[np.float64]) -> float:
    """The smallest angle between any two directions, (S, 3), in degrees."""
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = np.clip(units @ units.T, -1.0, 1.0)[np.triu_indices(len(units), 1)]
    return float(np.degrees(np.arccos(cosines)).min(initial=180.0))


def _point(values: Iterable[float]) -> Point:
    # A tenth of a millimetre: short to read, and far below a wavelength.
    x, y, z = (round(float(value), 4) for value in values)
    return x, y, z


def _points(positions: NDArray[np.float64]) -> tuple[Point, ...]:
    return tuple(_point(position) for position in positions)


class _Deck:
    """Deals utterances of different speakers, each utterance once before any a second time."""

    def __init__(self, utterances: Sequence[Utterance], hand: int, seed: int, split: Split):
        self._hand = hand
        self._rng = generator(seed, split, "utterances")
        self._by_speaker: list[list[Utterance]] = []
        speakers: dict[str, list[Utterance]] = {}
        for utterance in sorted(utterances, key=lambda utterance: utterance.id):
            speakers.setdefault(utterance.speaker, []).append(utterance)
        self._by_speaker = [speakers[name] for name in sorted(speakers)]
        self._waiting: list[list[Utterance]] = [[] for _ in self._by_speaker]

    def deal(self) -> list[Utterance]:
        """The utterances of the next mixture."""
        chosen: list[int] = []
        hand: list[Utterance] = []
        while len(hand) < self._hand:
            counts = np.array([len(waiting) for waiting in self._waiting])
            # A speaker with as many utterances left as there are mixtures to come must be in every one of them.
            due = counts >= max(1, -(-int(counts.sum() + len(hand)) // self._hand))
            counts[chosen] = 0
            if not counts.any():
                self._refill()
                continue
            pool = counts * due if (counts * due).any() else counts
            speaker = int(self._rng.choice(len(pool), p=pool / pool.sum()))
            chosen.append(speaker)
            hand.append(self._waiting[speaker].pop(0))
        return [hand[place] for place in self._rng.permutation(self._hand)]

    def _refill(self) -> None:
        for waiting, own in zip(self._waiting, self._by_speaker, strict=True):
            waiting += [own[place] for place in self._rng.permutation(len(own))]
