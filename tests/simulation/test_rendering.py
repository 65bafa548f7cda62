"""Rendered audio is what its parameters say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import coherence, correlate

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import BankRoom, Mixture, Noise, Room, Utterance, write_manifest
from sepasr_cli.randomness import generator
from sepasr_cli.settings import validate
from sepasr_cli.simulation.noise import make_noise
from sepasr_cli.simulation.rendering import ResponseBank, Responses, mix, mix_on_the_fly, render, responses
from sepasr_cli.simulation.responses import saved_for
from sepasr_cli.simulation.sampling import Placement, SimulationConfig, draw, draw_room

RATE = 8000


def config_of(**values: object) -> SimulationConfig:
    room = {"size": [5, 4, 2.6], "t60": 0.15}
    return validate(SimulationConfig, {"mixtures": {"test": 2}, "room": room, **values}, "recipe")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Utterance]:
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    found = {}
    for speaker in range(3):
        for number in range(2):
            name = f"{speaker}-{number}"
            length = 5000 + 500 * speaker + 100 * number
            path = folder / f"{name}.wav"
            soundfile.write(path, 0.1 * rng.standard_normal(length), RATE, subtype="PCM_16")
            found[name] = Utterance(
                id=name, audio=path, speaker=str(speaker), text=name, sample_rate=RATE, duration=length / RATE
            )
    return found


def drawn(config: SimulationConfig, corpus: dict[str, Utterance], sample_rate: int = RATE) -> Mixture:
    return draw(config, list(corpus.values()), "test", 0, sample_rate)[0]


def decibels(signal: Audio, other: Audio) -> float:
    return float(10 * np.log10(np.mean(signal.astype(float) ** 2) / np.mean(other.astype(float) ** 2)))


@pytest.mark.parametrize("noise", ["white", "diffuse"])
@pytest.mark.parametrize("t60", [None, 0.15])
def test_a_mixture_is_the_sum_of_its_parts(corpus: dict[str, Utterance], noise: str, t60: float | None) -> None:
    config = config_of(
        noise={"kind": noise, "snr_db": [3, 9]},
        room={"size": [5, 4, 2.6], "t60": t60},
        reference_microphone=1,
        overlap=[0.3, 0.6],
    )
    line = drawn(config, corpus)
    result = render(line, corpus)
    assert result.mixture.dtype == np.float32
    assert result.mixture.shape == (2, round(line.duration * RATE))
    np.testing.assert_allclose(result.image.sum(axis=0) + result.noise[1], result.mixture[1], atol=1e-6)
    # At all microphones, by plain convolution with the responses.
    assert line.room is not None
    room = responses(line.room, RATE)
    images = np.zeros_like(result.mixture)
    for s, source in enumerate(line.sources):
        dry = audio.read(corpus[source.utterance].audio)[0][0] * result.gains[s]
        start = round(source.start * RATE)
        for m in range(2):
            wet = np.convolve(dry, room.image[s, m])[: images.shape[1] - start]
            images[m, start : start + len(wet)] += wet
    np.testing.assert_allclose(images + result.noise, result.mixture, atol=1e-5)


def test_levels_and_noise_are_as_drawn(corpus: dict[str, Utterance]) -> None:
    config = config_of(level_db=[4, 5], noise={"kind": "white", "snr_db": [6, 7]}, level_dbfs=-30, overlap="max")
    line = drawn(config, corpus)
    result = render(line, corpus)
    assert line.noise is not None
    assert 6 <= line.noise.snr_db <= 7
    assert decibels(result.image.sum(axis=0), result.noise[0]) == pytest.approx(line.noise.snr_db, abs=0.01)
    ends = [round(source.end * RATE) for source in line.sources]
    level = decibels(result.image[1, : ends[1]], result.image[0, : ends[0]])
    assert 4 <= level <= 5
    assert level == pytest.approx(line.sources[1].level_db, abs=0.01)
    assert decibels(result.mixture[0], np.ones(1)) == pytest.approx(-30, abs=0.05)


def test_nothing_clips_and_levels_are_kept(corpus: dict[str, Utterance]) -> None:
    config = config_of(level_db=6, level_dbfs=0)
    result = render(drawn(config, corpus), corpus)
    peak = max(np.abs(signal).max() for signal in (result.mixture, result.image, result.direct, result.early))
    assert peak == pytest.approx(0.9, abs=1e-4)
    quiet = render(drawn(config_of(level_db=6, level_dbfs=-30), corpus), corpus)
    np.testing.assert_allclose(result.mixture / result.gains[0], quiet.mixture / quiet.gains[0], rtol=1e-3, atol=1e-5)


def test_references_are_ordered_in_energy_and_aligned_with_the_mixture(corpus: dict[str, Utterance]) -> None:
    config = config_of(room={"size": [5, 4, 2.6], "t60": 0.4}, overlap=0, level_db=0)
    line = drawn(config, corpus)
    result = render(line, corpus)
    for s, source in enumerate(line.sources):
        energies = [np.sum(part[s].astype(float) ** 2) for part in (result.direct, result.early, result.image)]
        assert energies[0] < energies[2]
        assert energies[1] < energies[2] * 1.05
        part = slice(round(source.start * RATE), round(source.end * RATE))
        for reference in (result.direct, result.early, result.image):
            across = correlate(result.mixture[0, part], reference[s, part], "full")
            assert np.abs(across).argmax() == part.stop - part.start - 1
        # Close to the dry signal: only the delay after the nearest speaker's direct sound is left.
        dry = audio.read(corpus[source.utterance].audio)[0][0]
        lag = np.abs(correlate(result.direct[s, part], dry, "full")).argmax() - (len(dry) - 1)
        assert 30 <= lag <= 40 + 3 / 343 * RATE


def test_delays_and_direct_levels_follow_the_distances() -> None:
    room = Room(
        size=(6, 5, 3), t60=None, microphones=((3, 2, 1.5), (3.5, 2, 1.5)), sources=((2, 2, 1.5), (3, 4.5, 1.5))
    )
    found = responses(room, 16000)
    assert found.image is found.direct is found.early
    distances = np.linalg.norm(np.array(room.sources)[:, None] - np.array(room.microphones)[None], axis=-1)
    peaks = np.abs(found.direct).argmax(axis=-1)
    np.testing.assert_allclose(peaks - peaks[0, 0], (distances - distances[0, 0]) / 343 * 16000, atol=1)
    assert peaks.min() in (40, 41)
    # Sound pressure falls as 1 / distance.
    pressure = np.sqrt((found.direct.astype(float) ** 2).sum(axis=-1)) * distances
    np.testing.assert_allclose(pressure / pressure[0, 0], 1, rtol=0.05)


@pytest.mark.parametrize("t60", [0.15, 0.25, 0.4])
def test_rooms_decay_as_asked(t60: float) -> None:
    """Schroeder's backward integration of the reflections, fitted from -5 to -25 dB."""
    config = config_of(room={"size": [[4, 6], [3, 5], [2.5, 3]], "t60": t60})
    room = draw_room(config, generator(2))
    found = responses(room, 16000)
    for s in range(2):
        reflections = found.image[s, 0].astype(float)
        reflections[: found.direct.shape[-1]] -= found.direct[s, 0]
        decay = np.cumsum(reflections[::-1] ** 2)[::-1]
        level = 10 * np.log10(decay / decay[0] + 1e-12)
        first, last = np.argmax(level < -5), np.argmax(level < -25)
        slope = np.polyfit(np.arange(first, last) / 16000, level[first:last], 1)[0]
        assert -60 / slope == pytest.approx(t60, rel=0.25)


def test_early_ends_fifty_milliseconds_after_the_direct_sound() -> None:
    found = responses(draw_room(config_of(room={"size": [5, 4, 2.6], "t60": 0.3}), generator(0)), RATE)
    for s in range(2):
        for m in range(2):
            end = np.abs(found.direct[s, m]).argmax() + round(0.05 * RATE) + 1
            np.testing.assert_array_equal(found.early[s, m, :end], found.image[s, m, :end])
            assert not found.early[s, m, end:].any()
            assert found.image[s, m, end:].any()


def test_rendering_depends_on_the_line_alone(corpus: dict[str, Utterance]) -> None:
    config = config_of(noise={"kind": "diffuse"})
    first, second = draw(config, list(corpus.values()), "test", 0, RATE)
    alone = render(second, corpus)
    render(first, corpus)
    again = render(Mixture.model_validate_json(second.model_dump_json()), corpus)
    np.testing.assert_array_equal(alone.mixture, again.mixture)
    np.testing.assert_array_equal(alone.noise, again.noise)


def test_min_overlap_cuts_and_other_rates_are_resampled(corpus: dict[str, Utterance]) -> None:
    line = drawn(config_of(overlap="min"), corpus, sample_rate=16000)
    lengths = [2 * round(corpus[source.utterance].duration * RATE) for source in line.sources]
    assert render(line, corpus).mixture.shape[1] == min(lengths)


@pytest.mark.parametrize(("spacing", "frequency"), [(0.05, 1000), (0.2, 500)])
def test_diffuse_noise_has_the_coherence_of_its_geometry(spacing: float, frequency: float) -> None:
    microphones = np.array([[0, 0, 0], [spacing, 0, 0]], float)
    noise = make_noise(Noise(kind="diffuse", snr_db=0), generator(0), microphones, 20 * RATE, RATE)
    frequencies, measured = coherence(noise[0], noise[1], RATE, nperseg=512)
    expected = np.sinc(2 * frequencies * spacing / 343) ** 2
    at = np.argmin(np.abs(frequencies - frequency))
    assert measured[at - 2 : at + 3].mean() == pytest.approx(expected[at - 2 : at + 3].mean(), abs=0.1)
    assert np.abs(measured - expected).mean() < 0.05
    white = make_noise(Noise(kind="white", snr_db=0), generator(0), microphones, 20 * RATE, RATE)
    assert coherence(white[0], white[1], RATE, nperseg=512)[1].mean() < 0.05


def test_recorded_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    recording = 0.1 * rng.standard_normal((3, 16000)).astype(np.float32)
    audio.write(tmp_path / "three.wav", recording, RATE, "FLOAT")
    audio.write(tmp_path / "one.wav", recording[0], RATE, "FLOAT")
    audio.write(tmp_path / "silent.wav", recording[0] * 0, RATE)
    microphones = np.array([[0, 0, 0], [0.05, 0, 0]], float)

    def make(name: str, offset: float = 0.0, length: int = RATE) -> Audio:
        noise = Noise(kind="folder", snr_db=0, file=name, offset=offset)
        return make_noise(noise, rng, microphones, length, RATE, tmp_path)

    np.testing.assert_array_equal(make("three.wav", 0.5), recording[:2, 4000:12000])
    # Past the end, the recording begins again.
    np.testing.assert_array_equal(make("three.wav", 1.5)[:, 4000:], recording[:2, :4000])
    spread = make("one.wav", 0.5, 24000)
    assert spread.shape == (2, 24000)
    assert not np.allclose(spread[0], spread[1])
    for name, said in (("silent.wav", "silent from 0.0 s"), ("no.wav", "no such file"), ("../one.wav", "leads out of")):
        with pytest.raises(SepasrError, match=said):
            make(name)


def test_problems_name_the_mixture(corpus: dict[str, Utterance], tmp_path: Path) -> None:
    line = drawn(config_of(), corpus)
    first = line.sources[0].utterance
    without = {key: value for key, value in corpus.items() if key != first}
    with pytest.raises(SepasrError, match=f"test_00000: utterance '{first}' is not in the corpus"):
        render(line, without)
    silent, short = tmp_path / "silent.wav", tmp_path / "short.wav"
    soundfile.write(silent, np.zeros(9000), RATE)
    soundfile.write(short, np.ones(100), RATE)
    for path, said in ((silent, "is silent"), (short, "has 100 samples at 8000 Hz"), (tmp_path / "no.wav", "no such")):
        with pytest.raises(SepasrError, match=rf"test_00000: .*{said}"):
            render(line, {**corpus, first: corpus[first].model_copy(update={"audio": path})})
    with pytest.raises(SepasrError, match="tells no room"):
        render(line.model_copy(update={"room": None}), corpus)


@pytest.mark.parametrize("t60", [None, 0.15])
def test_a_bank_gives_back_what_was_saved(tmp_path: Path, t60: float | None) -> None:
    config = config_of(room={"size": [5, 4, 2.6], "t60": t60})
    room = draw_room(config, generator(0))
    made, path = responses(room, RATE), tmp_path / "responses/0.npz"
    made.save(path, room)
    loaded = Responses.load(path)
    np.testing.assert_array_equal(loaded.image, made.image)
    np.testing.assert_array_equal(loaded.early, made.early)
    assert (loaded.image is loaded.direct) == (t60 is None)
    assert saved_for(path, room, RATE)
    assert not saved_for(path, room, 16000)
    assert not saved_for(tmp_path / "none.npz", room, RATE)

    write_manifest(
        tmp_path / "responses.jsonl", [BankRoom(id="0", responses="responses/0.npz", sample_rate=RATE, room=room)]
    )
    bank = ResponseBank.open(tmp_path)
    np.testing.assert_array_equal(bank.draw(generator(0)).direct, made.direct)
    path.write_bytes(path.read_bytes()[:500])
    assert not saved_for(path, room, RATE)
    with pytest.raises(SepasrError, match="damaged room responses"):
        bank.draw(generator(0))
    with pytest.raises(SepasrError, match=r"no room responses; set simulation\.response_bank"):
        ResponseBank.open(tmp_path / "responses")


def test_mixing_on_the_fly(tmp_path: Path) -> None:
    config = config_of(noise={"kind": "diffuse", "snr_db": 5}, overlap=[0.5, 1])
    room = responses(draw_room(config, generator(0)), RATE)
    signals = [generator(0, s).standard_normal(4000).astype(np.float32) for s in range(2)]
    result = mix_on_the_fly(config, generator(1), signals, room, RATE)
    np.testing.assert_allclose(result.image.sum(axis=0) + result.noise[0], result.mixture[0], atol=1e-6)
    assert decibels(result.image.sum(axis=0), result.noise[0]) == pytest.approx(5, abs=0.01)
    assert result.direct.shape == result.early.shape == result.image.shape == (2, result.mixture.shape[1])
    np.testing.assert_array_equal(result.mixture, mix_on_the_fly(config, generator(1), signals, room, RATE).mixture)
    with pytest.raises(SepasrError, match="2 speakers at 8000 Hz, needed for 3 at 8000 Hz"):
        mix_on_the_fly(config, generator(1), [*signals, signals[0]], room, RATE)
    with pytest.raises(SepasrError, match="needed for 2 at 16000 Hz"):
        mix_on_the_fly(config, generator(1), signals, room, 16000)

    audio.write(tmp_path / "noise.wav", signals[0] * 0.1, RATE)
    recorded = config_of(noise={"kind": "folder", "path": str(tmp_path), "snr_db": 5})
    assert mix_on_the_fly(recorded, generator(1), signals, room, RATE).noise.any()


def test_silence_stays_silent() -> None:
    room = responses(draw_room(config_of(), generator(0)), RATE)
    silence, sound = np.zeros(2000, np.float32), np.ones(2000, np.float32)
    placement = Placement((0, 0), (2000, 2000), 2000)
    nothing = mix([silence, silence], placement, [0, 0], room)
    assert not nothing.mixture.any()
    one = mix([sound, silence], placement, [0, 0], room, noise=np.zeros((2, 2000), np.float32))
    assert np.isfinite(one.mixture).all()
    assert not one.image[1].any()


def test_simulation_needs_no_torch() -> None:
    code = (
        "import sys; import sepasr_cli.stages.simulate, sepasr_cli.simulation.rendering, sepasr_cli.corpora; "
        "assert not {'torch', 'pyroomacoustics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
