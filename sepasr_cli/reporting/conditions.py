"""The circumstances of a recording that make it hard or easy, read from its manifest line."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import dist

from sepasr_cli.manifest import Mixture, Room


@dataclass(frozen=True)
class Quantity:
    """A number that describes a recording, with its unit and how it is printed."""

    label: str
    unit: str
    form: str

    def shown(self, value: float) -> str:
        """The value with its unit.

        >>> Quantity("T60", "s", ".2f").shown(0.3)
        '0.30 s'
        >>> Quantity("overlap", "", ".0%").shown(0.25)
        '25%'
        """
        return f"{value:{self.form}} {self.unit}".rstrip()


QUANTITIES = {
    "overlap": Quantity("overlap", "", ".0%"),
    "t60": Quantity("T60", "s", ".2f"),
    "snr_db": Quantity("SNR", "dB", ".1f"),
    "distance": Quantity("farthest talker", "m", ".2f"),
    "level_db": Quantity("level difference", "dB", ".1f"),
    "speakers": Quantity("speakers", "", ".0f"),
}


def overlap(spans: Sequence[tuple[float, float]]) -> float:
    """The share of the time with speech in which two or more people speak.

    Args:
        spans: start and end of each one's speech, in seconds.

    >>> overlap([(0, 3), (2, 4)])
    0.25
    """
    # At one time those who fall silent come before those who begin.
    edges = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    speech = shared = 0.0
    talking, before = 0, 0.0
    for time, step in edges:
        speech += (time - before) * (talking > 0)
        shared += (time - before) * (talking > 1)
        talking, before = talking + step, time
    return shared / speech if speech else 0.0


def farthest(room: Room) -> float:
    """Metres from the middle of the microphones to the farthest source."""
    middle = [sum(axis) / len(room.microphones) for axis in zip(*room.microphones, strict=True)]
    return max(dist(middle, source) for source in room.sources)


def conditions(mixture: Mixture) -> dict[str, float]:
    """The quantities that are known of a recording, by the names of QUANTITIES."""
    sources = mixture.sources
    levels = [source.level_db for source in sources]
    found = {
        "overlap": overlap([(source.start, source.end) for source in sources]),
        "level_db": max(levels) - min(levels),
        "speakers": float(len(sources)),
    }
    if mixture.room is not None:
        found["t60"] = mixture.room.t60 or 0.0
        if mixture.room.sources and mixture.room.microphones:
            found["distance"] = farthest(mixture.room)
    if mixture.noise is not None:
        found["snr_db"] = mixture.noise.snr_db
    return found
