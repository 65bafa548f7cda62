"""Drawn parameters keep to the request and depend on seed and id alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Utterance
from sepasr_cli.randomness import generator
from sepasr_cli.settings import validate
from sepasr_cli.simulation.config import FolderNoise, RoomConfig
from sepasr_cli.simulation.sampling import (
    NoiseFile,
    SimulationConfig,
    check_disjoint,
    draw,
    draw_noise,
    draw_placement,
    draw_room,
    noise_files,
    samples_of,
)

RATE = 8000


def config_of(**values: object) -> SimulationConfig:
    return validate(SimulationConfig, values, "recipe")


def speech(speakers: int, each: int, rate: int = RATE) -> list[Utterance]:
    return [
        Utterance(
            id=f"u{speaker}-{number}",
            audio=Path(f"{speaker}/{number}.wav"),
            speaker=f"s{speaker}",
            text=f"WORDS {number}",
            sample_rate=rate,
            duration=1 + number / 10,
        )
        for speaker in range(speakers)
        for number in range(each)
    ]


def test_draws_depend_on_seed_and_id_alone() -> None:
    few, many = config_of(mixtures={"test": 3}), config_of(mixtures={"test": 8})
    assert draw(few, speech(5, 4), "test", 1, RATE) == draw(many, speech(5, 4)[::-1], "test", 1, RATE)[:3]
    assert draw(few, speech(5, 4), "test", 1, RATE) != draw(few, speech(5, 4), "test", 2, RATE)


@pytest.mark.parametrize("speakers", [1, 2, 3, 4])
def test_every_utterance_is_used_before_any_is_used_again(speakers: int) -> None:
    corpus = speech(6, 5)
    mixtures = draw(config_of(mixtures={"train": 45}, speakers=speakers, min_angle=5), corpus, "train", 0, RATE)
    used = [source.utterance for mixture in mixtures for source in mixture.sources]
    for start in range(0, len(used) - speakers, len(corpus)):
        # A hand that spans two rounds may hold cards of both.
        counts = Counter(used[: start + len(corpus)])
        assert max(counts.values()) - min(counts.get(u.id, 0) for u in corpus) <= 1 or len(corpus) % speakers
    assert max(Counter(used).values()) - min(Counter(used).values()) <= 1
    for mixture in mixtures:
        assert len({source.speaker for source in mixture.sources}) == speakers
    assert len({mixture.id for mixture in mixtures}) == 45


def test_unequal_speakers_are_still_all_used_once_first() -> None:
    corpus = speech(4, 2) + [u.model_copy(update={"id": f"x{u.id}", "speaker": "s0"}) for u in speech(2, 2)]
    mixtures = draw(config_of(mixtures={"train": 6}), corpus, "train", 3, RATE)
    assert sorted(source.utterance for mixture in mixtures for source in mixture.sources) == sorted(
        u.id for u in corpus
    )


def test_times_are_exact_to_samples_and_texts_are_copied() -> None:
    mixture = draw(config_of(mixtures={"test": 1}), speech(2, 1, rate=16000), "test", 0, RATE)[0]
    texts = {u.id: u.text for u in speech(2, 1)}
    for source in mixture.sources:
        assert source.text == texts[source.utterance]
        assert source.end * RATE == round(source.end * RATE)


def test_length_after_resampling_is_that_of_the_samples_read() -> None:
    utterance = Utterance(
        id="a", audio=Path("a"), speaker="s", start=0.3331, end=1.2345, sample_rate=16000, duration=0.9014
    )
    assert samples_of(utterance, 16000) == round(1.2345 * 16000) - round(0.3331 * 16000)
    assert samples_of(utterance, 8000) == -(-samples_of(utterance, 16000) // 2)


def test_overlap_is_as_asked() -> None:
    rng = generator(0)
    lengths = [8000, 5000, 6000]
    cut = draw_placement(config_of(overlap="min"), rng, lengths)
    assert (cut.starts, cut.lengths, cut.total) == ((0, 0, 0), (5000,) * 3, 5000)
    padded = draw_placement(config_of(overlap="max"), rng, lengths)
    assert (padded.starts, padded.lengths, padded.total) == ((0, 0, 0), tuple(lengths), 8000)
    for _ in range(20):
        partial = draw_placement(config_of(overlap=[0.2, 0.4]), rng, lengths)
        for i in range(2):
            shared = partial.starts[i] + lengths[i] - partial.starts[i + 1]
            assert 0.2 <= shared / min(lengths[i], lengths[i + 1]) <= 0.4001
        assert partial.total == partial.starts[2] + 6000
    assert draw_placement(config_of(overlap=0), rng, lengths).total == 19000


@pytest.mark.parametrize("kind", ["circular", "linear", "free"])
def test_rooms_keep_to_the_request(kind: str) -> None:
    config = config_of(
        array={"kind": kind, "microphones": 4}, distance=[1, 1.5], min_angle=40, speakers=3, wall_clearance=0.4
    )
    rooms = [draw_room(config, generator(0, index)) for index in range(25)]
    for room in rooms:
        microphones, sources = np.array(room.microphones), np.array(room.sources)
        assert microphones.shape == (4, 3)
        points = np.vstack([microphones, sources])
        assert points.min() >= 0.4 - 1e-3
        assert (points <= np.array(room.size) - 0.4 + 1e-3).all()
        assert room.t60 is not None
        assert 0.2 <= room.t60 <= 0.5
        for side, (low, high) in zip(room.size, config.room.size, strict=True):
            assert low <= side <= high
        if kind == "free":
            continue  # its centre is not the mean of its microphones
        centre = microphones.mean(axis=0)
        away = sources - centre
        distances = np.linalg.norm(away, axis=1)
        assert ((distances > 1 - 1e-3) & (distances < 1.5 + 1e-3)).all()
        units = away / distances[:, None]
        angles = np.degrees(np.arccos(np.clip(units @ units.T, -1, 1)))[np.triu_indices(3, 1)]
        assert angles.min() > 40 - 0.1
    assert len({room.size for room in rooms}) == 25


def test_given_microphone_positions_are_only_turned() -> None:
    positions = [[0, 0, 0], [0.1, 0, 0], [0, 0.2, 0.05]]
    room = draw_room(config_of(array={"kind": "free", "microphones": 3, "positions": positions}), generator(1))
    wanted = np.linalg.norm(np.array(positions)[:, None] - np.array(positions)[None], axis=-1)
    found = np.linalg.norm(np.array(room.microphones)[:, None] - np.array(room.microphones)[None], axis=-1)
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_an_infeasible_t60_is_drawn_again() -> None:
    config = config_of(room={"size": [[2.5, 20], [2.5, 20], [2.5, 5]], "t60": [0.1, 0.2]}, distance=[0.5, 1])
    from sepasr_cli.simulation.config import feasible_t60

    for index in range(20):
        room = draw_room(config, generator(5, index))
        assert room.t60 is not None
        assert feasible_t60(room.size)[0] < room.t60 < feasible_t60(room.size)[1]


def test_what_fits_nowhere_is_said() -> None:
    config = config_of(array={"height": [0.5, 0.5]}, source_height=[2.5, 2.5], distance=[0.5, 0.9])
    with pytest.raises(SepasrError, match=r"no room found in 5000 attempts for 2 speakers 0.5-0.9 m from the array"):
        draw_room(config, generator(0))


def test_too_few_speakers_are_said_with_numbers() -> None:
    with pytest.raises(SepasrError, match=r"test: 1 speakers with 2 utterances \(1 outside 0.5-1.15 s\), 2 needed"):
        draw(config_of(max_duration=1.15), speech(1, 3), "test", 0, RATE)


def test_speakers_of_two_splits_are_named() -> None:
    check_disjoint({"train": speech(2, 1), "test": []})
    with pytest.raises(
        SepasrError, match="2 speakers are in both train and test: s0, s1; give every speaker to one split"
    ):
        check_disjoint({"train": speech(2, 1), "test": speech(3, 1)})


def test_noise_recordings_of_each_split(tmp_path: Path) -> None:
    (tmp_path / "street").mkdir()
    for name in ("a.wav", "street/b.wav"):
        soundfile.write(tmp_path / name, np.ones(RATE), RATE)
    noise = FolderNoise(path=tmp_path, include={"train": ("street/*",)}, exclude={"test": ("street/*",)})
    assert [file.name for file in noise_files(noise, "train")] == ["street/b.wav"]
    assert [file.name for file in noise_files(noise, "test")] == ["a.wav"]
    assert len(noise_files(noise, "dev")) == 2
    assert noise_files(None, "dev") == []
    with pytest.raises(SepasrError, match="2 recordings, none left for dev"):
        noise_files(FolderNoise(path=tmp_path, include={"dev": ("x*",)}), "dev")
    with pytest.raises(SepasrError, match="no such folder of noise recordings"):
        noise_files(FolderNoise(path=tmp_path / "no"), "dev")


def test_shares_of_anechoic_rooms_and_of_synthetic_noise() -> None:
    config = SimulationConfig(
        room=RoomConfig(t60=(0.2, 0.3), anechoic=0.5), noise=FolderNoise(path=Path("noise"), synthetic=0.5)
    )
    noises = [NoiseFile("street.wav", 10.0)]
    rooms = [draw_room(config, generator(0, number)) for number in range(40)]
    kinds = [draw_noise(config, generator(0, number), noises).kind for number in range(40)]
    assert 8 < sum(room.t60 is None for room in rooms) < 32
    assert 8 < kinds.count("diffuse") < 32 and kinds.count("folder") == 40 - kinds.count("diffuse")
