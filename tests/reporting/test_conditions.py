"""What is known of a recording's circumstances."""

import pytest

from sepasr_cli.manifest import Mixture, Noise, Room, Source
from sepasr_cli.reporting.conditions import conditions, overlap


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([(0, 2), (0, 2)], 1.0),
        ([(0, 2), (2, 4)], 0.0),
        ([(0, 1), (3, 4)], 0.0),
        ([(0, 4), (1, 2), (1, 3)], 0.5),
        ([(1, 5)], 0.0),
        ([], 0.0),
    ],
)
def test_overlap(spans: list[tuple[float, float]], share: float) -> None:
    assert overlap(spans) == pytest.approx(share)


def test_what_a_manifest_line_says() -> None:
    sources = (Source(speaker="a", end=2), Source(speaker="b", start=1, end=3, level_db=-4))
    plain = Mixture(id="m", audio="m.wav", sample_rate=8000, duration=3, sources=sources)
    assert conditions(plain) == {"overlap": pytest.approx(1 / 3), "level_db": 4, "speakers": 2}
    room = Room(size=(5, 5, 3), t60=0.4, microphones=((0, 0, 0), (2, 0, 0)), sources=((1, 1, 0), (1, 0, 2)))
    whole = plain.model_copy(update={"room": room, "noise": Noise(kind="white", snr_db=12)})
    assert conditions(whole) == {**conditions(plain), "t60": 0.4, "distance": 2, "snr_db": 12}
    anechoic = whole.model_copy(update={"room": room.model_copy(update={"t60": None})})
    assert conditions(anechoic)["t60"] == 0
