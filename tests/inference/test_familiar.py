"""What the bundled model's users are told of a recording that is unlike its training, and that it is no more."""

from pathlib import Path

import pytest

from sepasr_cli.inference.activity import Span
from sepasr_cli.inference.familiar import unlike_training
from sepasr_cli.inference.long_form import Join
from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.inference.recording import Recording
from sepasr_cli.inference.summary import Summary
from sepasr_cli.joint import JointModel

RATE = 8000
TALK = [(0, 0.2, 4), (1, 2, 6), (0, 7, 9.5)]


def lines(
    model: JointModel,
    spans: list[tuple[int, float, float]],
    duration: float = 10,
    rate: int = RATE,
    joins: str = "",
    confidences: list[float] | None = None,
    speakers: int | None = None,
) -> list[str]:
    """The warnings of a recording in which such spans hold speech: stream, start and end in seconds."""
    summary = Summary()
    summary.begin(2, RATE)
    summary.note([Span(stream, *(round(at * RATE) for at in (start, end, start, end))) for stream, start, end in spans])
    summary.joins = [Join(0, (0, 1), "neither" if one == "n" else "overlap", 0.5) for one in joins]
    summary.confidences = confidences or []
    recording = Recording(Path("x.wav"), rate, round(duration * rate))
    return list(unlike_training(recording, summary, Pipeline(model), "numbers", speakers))


def test_what_is_like_the_training_gives_no_line(tiny_joint: JointModel) -> None:
    assert lines(tiny_joint, TALK, joins="oo", confidences=[0.9, 0.8, 0.7], speakers=2) == []
    # Nobody speaks at all: which is said elsewhere.
    assert lines(tiny_joint, [], duration=60) == []
    # Three seconds of four are a short pause.
    assert lines(tiny_joint, [(0, 0, 1)], duration=4) == []


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"rate": 4000}, "4000 Hz, the model heard 8000 Hz: what lies above 2 kHz is missing, expect errors"),
        ({"rate": 44100}, "44100 Hz, resampled to the model's 8000 Hz"),
        (
            {"duration": 16},
            "nobody speaks in 8 of 16 s, up to 6 s on end; the model was trained on speech without long pauses",
        ),
        (
            {"spans": [(0, 4, 5), (1, 9, 10)], "duration": 12},
            "nobody speaks in 10 of 12 s, up to 4 s on end; the model was trained on speech without long pauses",
        ),
        ({"speakers": 3}, "3 speakers expected, the model tells 2 apart: several may share a stream"),
        (
            {"joins": "nno"},
            "voices are told apart with difficulty; if more than 2 people speak, several share a stream",
        ),
        (
            {"confidences": [0.9, 0.4, 0.3]},
            "few words were recognised with confidence; the model was trained on numbers",
        ),
    ],
)
def test_what_is_unlike_it_gives_one(tiny_joint: JointModel, given: dict, line: str) -> None:
    assert lines(tiny_joint, **({"spans": TALK} | given)) == [line]


def test_two_words_and_one_join_tell_nothing(tiny_joint: JointModel) -> None:
    assert lines(tiny_joint, TALK, joins="n", confidences=[0.1, 0.1]) == []
    assert lines(tiny_joint, TALK, joins="nn" + "o" * 10) == []
