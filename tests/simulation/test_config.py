"""What can be asked of a simulation, and what is said where it cannot be."""

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.settings import validate
from sepasr_cli.simulation.config import (
    CircularArray,
    FreeArray,
    LinearArray,
    SimulationConfig,
    feasible_t60,
)


def make(**values: object) -> SimulationConfig:
    return validate(SimulationConfig, values, "recipe")


def test_every_configuration_has_valid_defaults() -> None:
    config = make()
    assert config.mixtures == {"train": 1000, "dev": 100, "test": 100}
    assert config.array == CircularArray()
    assert LinearArray().reach == pytest.approx(0.025)
    assert FreeArray().microphones == 2


def test_a_number_stands_for_a_range_and_counts_left_out_keep_their_default() -> None:
    config = make(level_db=0, distance=1, overlap=0.5, mixtures={"test": 3})
    assert (config.level_db, config.distance, config.overlap) == ((0, 0), (1, 1), (0.5, 0.5))
    assert config.mixtures == {"train": 1000, "dev": 100, "test": 3}


def test_larger_rooms_can_reverberate_for_longer() -> None:
    assert feasible_t60((4, 3, 2.5)) < feasible_t60((8, 7, 3.5))
    shortest, longest = feasible_t60((4, 3, 2.5))
    assert shortest < 0.1 < 1 < longest


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"speakers": 5}, "'speakers': found 5"),
        ({"overlap": [0.5, 1.5]}, "overlap 0.5-1.5: a fraction lies between 0 and 1"),
        ({"overlap": "mid"}, "'overlap': found 'mid'"),
        ({"level_db": [3, -3]}, "low <= high, found [3, -3]"),
        ({"room": {"t60": 0.02}}, "t60 0.02 s asked for, but rooms of 4-8 x 3-7 x 2.5-3.5 m can have 0.08-1.83 s"),
        ({"room": {"t60": [4, 5]}}, "can have 0.08-1.83 s"),
        ({"room": {"size": [4, 0, 3]}}, "expected numbers above 0"),
        ({"distance": [20, 30]}, "distance 20-30 m fits no room of 4-8 x 3-7 x 2.5-3.5 m: at most 9.7"),
        ({"distance": [0.01, 1]}, "distance from 0.01 m: the array itself reaches 0.05 m"),
        ({"min_angle": 150, "speakers": 3}, "3 speakers fit around an array at most 120 degrees apart"),
        ({"source_height": 3.4}, "source_height 3.4 m: rooms are at most 3.5 m high and 0.3 m stay free"),
        ({"wall_clearance": 3.5}, "no room of 4-8 x 3-7 x 2.5-3.5 m is wide enough"),
        ({"reference_microphone": 2}, "reference_microphone is 2, the array has 2, numbered from 0; choose 0-1"),
        ({"array": {"kind": "square"}}, "'array.kind': found 'square'"),
        ({"array": {"kind": "free", "microphones": 3, "positions": [[0, 0, 0]]}}, "1 positions for 3 microphones"),
        ({"noise": {"kind": "pink"}}, "'noise.kind': found 'pink'"),
        ({"noise": {"kind": "folder"}}, "'noise.path' is missing"),
        ({"min_duration": 5, "max_duration": 2}, "min_duration 5 s is longer than max_duration 2 s"),
        ({"mixtures": {"test": -1}}, "'mixtures.test': found -1"),
        ({"tail": 1}, "unknown key 'tail'"),
    ],
)
def test_impossible_requests_are_one_line_with_numbers(values: dict[str, object], said: str) -> None:
    with pytest.raises(SepasrError) as caught:
        make(**values)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
