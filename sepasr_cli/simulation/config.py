"""What may be drawn for a mixture: room, array, positions, levels, overlap, noise; checked for what is possible."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sepasr_cli.manifest import Point, Reference, Split
from sepasr_cli.settings import Settings

#: Metres a second, in dry air of 20 degrees Celsius.
SPEED_OF_SOUND = 343.0

#: Reflections followed at most: some ten million image sources, seconds of work and a gigabyte of memory.
MAX_ORDER = 200


def _as_range(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if not (math.isfinite(value[0]) and math.isfinite(value[1]) and value[0] <= value[1]):
        raise ValueError(
            f"expected two finite numbers [low, high] with low <= high, found [{value[0]:g}, {value[1]:g}]"
        )
    return value


#: Two numbers [low, high] to draw between uniformly; a single number stands for both.
Range = Annotated[tuple[float, float], BeforeValidator(_as_range), AfterValidator(_ascending)]


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] <= 0:
        raise ValueError(f"expected numbers above 0, found [{value[0]:g}, {value[1]:g}]")
    return value


PositiveRange = Annotated[Range, AfterValidator(_positive)]


class RoomConfig(Settings):
    """A shoebox: length, width and height in metres, reverberation time in seconds (null: anechoic)."""

    size: tuple[PositiveRange, PositiveRange, PositiveRange] = ((4.0, 8.0), (3.0, 7.0), (2.5, 3.5))
    t60: PositiveRange | None = (0.2, 0.5)
    anechoic: float = Field(0.0, ge=0, le=1, description="share of the rooms that do not reverberate")

    @model_validator(mode="after")
    def _possible(self) -> "RoomConfig":
        if self.t60 is None:
            return self
        smallest, largest = (tuple(side[end] for side in self.size) for end in (0, 1))
        low, high = feasible_t60(smallest)[0], feasible_t60(largest)[1]
        if self.t60[1] < low or self.t60[0] > high:
            raise ValueError(
                f"t60 {_text(self.t60)} s asked for, but rooms of {_sizes(self.size)} can have {low:.2f}-{high:.2f} s "
                "(the shortest by Sabine's formula, the longest by the work it takes); change t60 or size"
            )
        return self


def feasible_t60(size: tuple[float, ...]) -> tuple[float, float]:
    """The reverberation times in seconds that a room of this size in metres can be given.

    An absorption of 1 in Sabine's formula bounds it from below, the number of reflections from above.

    >>> tuple(round(seconds, 2) for seconds in feasible_t60((6, 5, 3)))
    (0.12, 1.51)
    """
    a, b, c = size
    shortest = 24 * math.log(10) / SPEED_OF_SOUND * (a * b * c) / (2 * (a * b + b * c + a * c))
    return shortest, (MAX_ORDER + 1) * _wall_radius(size) / SPEED_OF_SOUND


def _wall_radius(size: tuple[float, ...]) -> float:
    """How far the nearest image sources of each further order lie, at least, in metres (Scheibler's inverse_sabine)."""
    a, b, c = size
    return min(x * y / math.hypot(x, y) for x, y in ((a, b), (b, c), (a, c)))


class CircularArray(Settings):
    """Microphones at equal angles on a horizontal circle, turned by a drawn angle; metres."""

    kind: Literal["circular"] = "circular"
    microphones: int = Field(default=2, ge=1)
    radius: PositiveRange = (0.05, 0.05)
    height: PositiveRange = (1.0, 1.5)

    @property
    def reach(self) -> float:
        """Largest distance of a microphone from the centre."""
        return self.radius[1]


class LinearArray(Settings):
    """Microphones on a horizontal line, turned by a drawn angle; metres."""

    kind: Literal["linear"] = "linear"
    microphones: int = Field(default=2, ge=1)
    spacing: PositiveRange = (0.05, 0.05)
    height: PositiveRange = (1.0, 1.5)

    @property
    def reach(self) -> float:
        """Largest distance of a microphone from the centre."""
        return self.spacing[1] * (self.microphones - 1) / 2


class FreeArray(Settings):
    """Microphones drawn in a cube of edge `extent` metres, or at given `positions` about its centre, turned."""

    kind: Literal["free"] = "free"
    microphones: int = Field(default=2, ge=1)
    extent: PositiveRange = (0.2, 0.2)
    positions: tuple[Point, ...] | None = None
    height: PositiveRange = (1.0, 1.5)

    @model_validator(mode="after")
    def _counted(self) -> "FreeArray":
        if self.positions is not None and len(self.positions) != self.microphones:
            raise ValueError(f"{len(self.positions)} positions for {self.microphones} microphones; give one each")
        return self

    @property
    def reach(self) -> float:
        """Largest distance of a microphone from the centre."""
        if self.positions is not None:
            return max(math.hypot(*position) for position in self.positions)
        return self.extent[1] * math.sqrt(3) / 2


ArrayConfig = Annotated[CircularArray | LinearArray | FreeArray, Field(discriminator="kind")]


class SyntheticNoise(Settings):
    """White: independent at every microphone, flat. Diffuse: spherically isotropic, with the spectrum of speech."""

    kind: Literal["white", "diffuse"] = "diffuse"
    snr_db: Range = (10.0, 20.0)


class FolderNoise(Settings):
    """Recordings in a folder. One with at least M channels is used as it is; others are spread as a diffuse field.

    `include` and `exclude` name files of each split by patterns such as `street/*`, relative to the folder; a split
    without `include` may use every file. A share of the mixtures has synthetic diffuse noise instead.
    """

    kind: Literal["folder"] = "folder"
    path: Path
    snr_db: Range = (10.0, 20.0)
    synthetic: float = Field(0.0, ge=0, le=1, description="share of mixtures with diffuse noise of speech's spectrum")
    include: dict[Split, tuple[str, ...]] = Field(default_factory=dict)
    exclude: dict[Split, tuple[str, ...]] = Field(default_factory=dict)


NoiseConfig = Annotated[SyntheticNoise | FolderNoise, Field(discriminator="kind")]

Count = Annotated[int, Field(ge=0)]
_MIXTURES: dict[Split, int] = {"train": 1000, "dev": 100, "test": 100}


def _with_defaults(value: Any) -> Any:
    return {**_MIXTURES, **value} if isinstance(value, dict) else value


def _circular_unless_said(value: Any) -> Any:
    return {"kind": "circular", **value} if isinstance(value, dict) else value


class SimulationConfig(Settings):
    """What `simulate` draws. Ranges [low, high] are drawn uniformly; metres, seconds, degrees.

    overlap: `min`: all start together and are cut to the shortest (texts are kept whole: for separation only);
        `max`: all start together, nothing is cut; [low, high]: each starts before the one ahead of it has ended, so
        that this fraction of the shorter of the two is overlapped.
    level_db: level of each further speaker against the first, of the images at the reference microphone.
    min_angle: between any two speakers as seen from the array's centre.
    level_dbfs: RMS level of the mixture; lower where a sample would pass 0.9 of full scale.
    response_bank: rooms whose responses are kept for mixing while training; 0: none.
    """

    mixtures: Annotated[dict[Split, Count], BeforeValidator(_with_defaults)] = _MIXTURES
    speakers: int = Field(default=2, ge=1, le=4)
    overlap: Literal["min", "max"] | Range = "max"
    level_db: Range = (-2.5, 2.5)
    level_dbfs: float = Field(default=-25.0, le=0)
    room: RoomConfig = RoomConfig()
    array: Annotated[ArrayConfig, BeforeValidator(_circular_unless_said)] = CircularArray()
    distance: PositiveRange = (0.75, 2.0)
    source_height: PositiveRange = (1.2, 1.8)
    min_angle: float = Field(default=15.0, ge=0, le=180)
    wall_clearance: float = Field(default=0.3, gt=0)
    noise: NoiseConfig | None = None
    reference_microphone: int = Field(default=0, ge=0)
    references: tuple[Reference, ...] = ("direct", "early", "image")
    format: Literal["flac", "wav"] = "flac"
    min_duration: float = Field(default=0.5, ge=0)
    max_duration: float = Field(default=30.0, gt=0)
    response_bank: int = Field(default=0, ge=0)

    @property
    def microphones(self) -> int:
        """Of the array."""
        return self.array.microphones

    @model_validator(mode="after")
    def _consistent(self) -> "SimulationConfig":
        count = self.array.microphones
        if self.reference_microphone >= count:
            raise ValueError(
                f"reference_microphone is {self.reference_microphone}, the array has {count}, numbered from 0; "
                f"choose 0-{count - 1}"
            )
        if isinstance(self.overlap, tuple) and not 0 <= self.overlap[0] <= self.overlap[1] <= 1:
            raise ValueError(f"overlap {_text(self.overlap)}: a fraction lies between 0 and 1; or say min or max")
        if self.min_duration > self.max_duration:
            raise ValueError(
                f"min_duration {self.min_duration:g} s is longer than max_duration {self.max_duration:g} s"
            )
        if self.speakers > 1 and self.min_angle * self.speakers > 360:
            raise ValueError(
                f"min_angle {self.min_angle:g}: {self.speakers} speakers fit around an array at most "
                f"{360 / self.speakers:g} degrees apart"
            )
        self._fits()
        return self

    def _fits(self) -> None:
        """Array and speakers must fit at least the largest room."""
        room = tuple(side[1] for side in self.room.size)
        margin = 2 * self.wall_clearance
        inner = [side - margin for side in room[:2]]
        reach = self.array.reach
        if min(inner) <= 2 * reach:
            raise ValueError(
                f"the array reaches {reach:g} m around its centre and wall_clearance is {self.wall_clearance:g} m: "
                f"no room of {_sizes(self.room.size)} is wide enough; enlarge room.size"
            )
        for name, height in (("array.height", self.array.height), ("source_height", self.source_height)):
            if height[0] > room[2] - self.wall_clearance:
                raise ValueError(
                    f"{name} {_text(height)} m: rooms are at most {room[2]:g} m high and "
                    f"{self.wall_clearance:g} m stay free; lower it"
                )
        if self.distance[0] <= reach:
            raise ValueError(
                f"distance from {self.distance[0]:g} m: the array itself reaches {reach:g} m; start above that"
            )
        rise = max(abs(a - b) for a in self.array.height for b in self.source_height)
        # Both the array's centre and the speaker keep the clearance, the centre its reach as well.
        longest = math.hypot(inner[0] - reach, inner[1] - reach, rise)
        if self.distance[0] > longest:
            raise ValueError(
                f"distance {_text(self.distance)} m fits no room of {_sizes(self.room.size)}: at most {longest:.2f} m "
                f"with {self.wall_clearance:g} m wall_clearance; enlarge room.size or lower distance"
            )


def _text(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g}" if bounds[0] == bounds[1] else f"{bounds[0]:g}-{bounds[1]:g}"


def _sizes(size: tuple[tuple[float, float], ...]) -> str:
    return " x ".join(_text(side) for side in size) + " m"
