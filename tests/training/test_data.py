import numpy as np
import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.randomness import generator
from sepasr_cli.simulation.config import CircularArray, RoomConfig, SimulationConfig
from sepasr_cli.simulation.responses import responses
from sepasr_cli.simulation.sampling import draw_room
from sepasr_cli.training.data import Schedule, change_speed
from sepasr_cli.training.loop import load
from sepasr_cli.training.mixtures import DynamicMixtures, SimulatedMixtures
from sepasr_cli.training.speech import Speech, corpus_speech, reference_speech

RATE = 8000


def mixtures(manifest, **changes):
    settings = {"reference": "early", "microphones": 2, "batch_size": 4, "seed": 3, **changes}
    return SimulatedMixtures(manifest, **settings)


def same(one, two):
    assert one.ids == two.ids
    for key, value in vars(one).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(two, key)), key


def test_an_epoch_holds_every_example_once_and_the_next_in_another_order():
    schedule = Schedule([float(index % 5) for index in range(23)], batch_size=4, seed=1)
    epochs = [[schedule(6 * epoch + number) for number in range(6)] for epoch in range(2)]
    for epoch, batches in enumerate(epochs):
        assert sorted(index for _, batch in batches for index in batch) == list(range(23))
        assert {number for number, _ in batches} == {epoch}
    assert [batch for _, batch in epochs[0]] != [batch for _, batch in epochs[1]]


def test_buckets_hold_examples_of_like_length():
    durations = [float(value) for value in np.random.default_rng(0).uniform(1, 10, 200)]
    spread = {}
    for bucket in (False, True):
        schedule = Schedule(durations, batch_size=10, seed=0, bucket=bucket)
        batches = [schedule(number)[1] for number in range(20)]
        spread[bucket] = np.mean([np.ptp([durations[index] for index in batch]) for batch in batches])
    assert spread[True] < 0.2 * spread[False]


def test_a_batch_depends_on_its_number_alone(manifest):
    forwards = [mixtures(manifest, segment_seconds=0.3)(number) for number in range(4)]
    again = mixtures(manifest, segment_seconds=0.3)
    for number in (3, 1, 2, 0):
        same(again(number), forwards[number])


def test_data_workers_change_nothing(manifest):
    data = mixtures(manifest, segment_seconds=0.3)
    for number, batch in zip(range(2, 6), load(data, range(2, 6), workers=1), strict=True):
        same(batch, data(number))


def test_another_seed_gives_other_segments(manifest):
    one, two = (mixtures(manifest, segment_seconds=0.3, seed=seed, batch_size=6)(0) for seed in (1, 2))
    assert not torch.equal(one.mixture, two.mixture)


def test_segments_cut_mixture_and_references_alike(manifest):
    batch = mixtures(manifest, segment_seconds=0.3, batch_size=6)(0)
    assert batch.mixture.shape == (6, 2, 2400)
    assert torch.allclose(batch.references.sum(1), batch.mixture[:, 0], atol=1e-4)
    assert torch.allclose(batch.noise, batch.mixture[:, 0] - batch.references.sum(1))


def test_whole_mixtures_are_padded_at_their_end_and_all_there(manifest, vocabulary):
    found = [make() for make in mixtures(manifest, vocabulary=vocabulary).in_order(4)]
    assert sorted(name for batch in found for name in batch.ids) == [f"mix{index}" for index in range(6)]
    for batch in found:
        for row, length in zip(batch.mixture, batch.lengths, strict=True):
            assert row[:, length:].abs().sum() == 0
        for row, lengths in zip(batch.targets, batch.target_lengths, strict=True):
            for ids, length in zip(row, lengths, strict=True):
                assert (ids[:length] >= 0).all() and (ids[length:] == -1).all()


def test_too_many_microphones_and_missing_references_are_named(manifest):
    with pytest.raises(SepasrError, match="2 channels found, the model takes 3"):
        mixtures(manifest, microphones=3)(0)
    with pytest.raises(SepasrError, match="no 'image' reference"):
        mixtures(manifest, reference="image")(0)


@pytest.fixture(scope="module")
def dynamic(utterances):
    config = SimulationConfig(
        room=RoomConfig(t60=(0.15, 0.15), size=((4, 4.5), (3, 3.5), (2.5, 2.6))), array=CircularArray(microphones=2)
    )
    room = responses(draw_room(config, generator(0, "room")), RATE)

    def make(**changes):
        settings = {
            "reference": "early",
            "microphones": 2,
            "batch_size": 3,
            "seed": 5,
            "sample_rate": RATE,
            "speeds": (0.9, 1.0, 1.1),
            **changes,
        }
        return DynamicMixtures(utterances, room, config, **settings)

    return make


def test_mixing_on_the_fly_depends_on_the_number_alone(dynamic):
    first = [dynamic(segment_seconds=0.4)(number) for number in range(3)]
    again = dynamic(segment_seconds=0.4)
    for number in (2, 0, 1):
        same(again(number), first[number])
    assert first[0].mixture.shape == (3, 2, 3200)
    assert not torch.equal(first[0].mixture, first[1].mixture)


def test_mixing_on_the_fly_takes_different_speakers_and_their_words(dynamic, vocabulary, utterances):
    texts = {utterance.id: utterance.text for utterance in utterances}
    speakers = {utterance.id: utterance.speaker for utterance in utterances}
    batch = dynamic(vocabulary=vocabulary)(0)
    for name, targets, lengths in zip(batch.ids, batch.targets, batch.target_lengths, strict=True):
        ids = name.split("(")[1].rstrip(")").split(", ")
        assert speakers[ids[0]] != speakers[ids[1]]
        found = [vocabulary.decode(row[:length].tolist()) for row, length in zip(targets, lengths, strict=True)]
        assert found == [texts[name] for name in ids]


def test_drawn_microphones_come_first_and_the_reference_before_them(dynamic):
    every = dynamic()
    counted = dynamic(microphone_counts=(1, 2))
    heard = set()
    for number in range(4):
        same(counted(number), counted(number))
        for whole, some in zip(every(number).mixture, counted(number).mixture, strict=True):
            count = int(some.any(-1).sum())
            assert torch.equal(some[:count], whole[:count]) and not some[count:].any()
            heard.add(count)
    assert heard == {1, 2}


def test_drawn_microphones_take_turns_in_validation(manifest):
    every, counted = (mixtures(manifest, batch_size=1, microphone_counts=counts) for counts in ((), (1, 2)))
    counts = {}
    for whole, some in zip(every.in_order(1), counted.in_order(1), strict=True):
        (name,), heard = some().ids, some().mixture[0]
        counts[name] = int(heard.any(-1).sum())
        assert torch.equal(heard[: counts[name]], whole().mixture[0, : counts[name]])
    assert counts == {f"mix{index}": 1 + index % 2 for index in range(6)}
    drawn = [int(counted(number).mixture[0].any(-1).sum()) for number in range(12)]
    assert set(drawn) == {1, 2} and drawn == [int(counted(number).mixture[0].any(-1).sum()) for number in range(12)]


def test_too_few_speakers_for_mixing(dynamic, utterances):
    with pytest.raises(SepasrError, match="1 speakers found, expected at least 2"):
        DynamicMixtures(
            utterances[:1],
            None,
            SimulationConfig(),
            reference="early",
            microphones=2,
            batch_size=1,
            seed=0,
            sample_rate=RATE,
        )


def test_speech_is_batched_with_its_speed_drawn_for_each_epoch(utterances, vocabulary):
    speech = Speech(corpus_speech(utterances, RATE), vocabulary, batch_size=4, seed=2, speeds=(0.8, 1.25))
    lengths = {utterance.id: round(utterance.duration * RATE) for utterance in utterances}
    seen = set()
    for number in range(8):
        batch = speech(number)
        same(batch, speech(number))
        for name, length in zip(batch.ids, batch.lengths.tolist(), strict=True):
            seen.add((name, round(lengths[name] / length, 1)))
    assert len({name for name, _ in seen}) == 8 and {speed for _, speed in seen} == {0.8, 1.2}


def test_reference_signals_serve_as_speech(manifest, vocabulary):
    spoken = reference_speech(manifest, "early")
    assert len(spoken) == 12
    batch = Speech(spoken, vocabulary, batch_size=12, seed=0)(0)
    assert sorted(batch.ids)[0] == "mix0/0" and batch.audio.abs().amax(1).min() > 0
    assert reference_speech(manifest, "image") == []


def test_speed_changes_length_and_pitch():
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    fast = change_speed(tone, 1.1)
    assert len(fast) == pytest.approx(RATE / 1.1, abs=1)
    peak = np.abs(np.fft.rfft(fast)).argmax() * RATE / len(fast)
    assert peak == pytest.approx(484, abs=3)
    assert change_speed(tone, 1.0) is tone
