"""Published sets made again: what their definitions say, and to the same bytes by any number of processes."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyroomacoustics
import pytest
import soundfile
from pydantic import TypeAdapter
from scipy.signal import fftconvolve, resample_poly

from sepasr_cli.datasets import DatasetConfig, plans, read_dataset
from sepasr_cli.datasets.librimix_rendering import FADE, prolonged
from sepasr_cli.datasets.making import make
from sepasr_cli.datasets.speech_level import active_level
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import SPLITS, Mixture, Split, read_manifest
from sepasr_cli.rundir import RunDir
from sepasr_cli.settings import validate
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.stages.simulate import simulate

ROOMS = validate(
    SimulationConfig,
    {
        "room": {"size": [[4, 5], [4, 5], 3], "t60": [0.15, 0.2]},
        "array": {"kind": "free", "microphones": 8, "extent": [0.15, 0.25]},
        "distance": [0.6, 1.8],
    },
    "simulation",
)
TT = "440c0401_2.3824_050a0501_-2.3824"


def config_of(kind: str, raw: Path, **values: object) -> DatasetConfig:
    sources: dict[str, dict[str, object]] = {
        "wsj0_2mix": {"wsj0": raw, "lists": raw / "lists"},
        "whamr": {"wsj0": raw, "noise": raw / "wham_noise", "tables": raw / "tables"},
        "librimix": {
            "librispeech": raw / "LibriSpeech",
            "noise": raw / "wham_noise",
            "tables": raw / "metadata",
        },
    }
    made_from = sources[kind] | values.pop("make_from", {})  # type: ignore[operator]
    settings = {"kind": kind, "path": raw.parent / "made", "make_from": made_from, **values}
    return TypeAdapter(DatasetConfig).validate_python(settings)


def make_split(config: DatasetConfig, rate: int, split: Split = "test", workers: int = 1, **values: object) -> bool:
    settings = {"shard": (1, 1), "skip_bad": False, **values}
    found = plans(config, split, rate, 3, ROOMS)
    done = [make(plan, None, workers, **settings) for plan in found]  # type: ignore[arg-type]
    return all(done)


def heard(path: Path) -> np.ndarray:
    """(M, N)"""
    return soundfile.read(path, always_2d=True)[0].T


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("length", ["min", "max"])
def test_wsj0_2mix(raw: Path, rate: int, length: str) -> None:
    config = config_of("wsj0_2mix", raw, room="none", length=length)
    assert make_split(config, rate)
    base = config.path / f"2speakers/wav{rate // 1000}k/{length}/tt"
    mixture, one, two = (heard(base / f"{part}/{TT}.wav") for part in ("mix", "s1", "s2"))
    assert mixture.shape == (1, round((0.45 if length == "min" else 0.6) * rate))
    np.testing.assert_allclose(mixture, one + two, atol=1.6 / 32768)
    assert max(np.abs(signal).max() for signal in (mixture, one, two)) == pytest.approx(0.9, abs=1e-4)
    (read,) = read_dataset(config, "test", rate)
    assert read.id == TT and [source.utterance for source in read.sources] == ["440c0401", "050a0501"]
    if rate == 8000 and length == "max":
        # The two levels of the list: 2.38 and -2.38 dB.
        spoken = (one[0], two[0, : round(0.45 * rate)])
        levels = [10 * np.log10(active_level(signal, rate)) for signal in spoken]
        assert levels[0] - levels[1] == pytest.approx(4.76488, abs=0.1)


def test_levels_are_measured_at_8_khz_for_every_rate(raw: Path) -> None:
    config = config_of("wsj0_2mix", raw, room="none")
    for rate in (8000, 16000):
        make_split(config, rate)
    ratios = []
    for rate in (8, 16):
        base = config.path / f"2speakers/wav{rate}k/max/tt"
        spoken = [heard(raw / f"wsj0/{path}.wav")[0] for path in ("si_et_05/440/440c0401", "si_dt_05/050/050a0501")]
        dry = [resample_poly(one, rate, 16) for one in spoken]
        one, two = (heard(base / f"{part}/{TT}.wav")[0] for part in ("s1", "s2"))
        gains = [np.dot(made[: len(raw)], raw) / np.dot(raw, raw) for made, raw in zip((one, two), dry, strict=True)]
        ratios.append(gains[0] / gains[1])
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-3)


def test_published_gains_are_taken(raw: Path) -> None:
    config = config_of("wsj0_2mix", raw, room="none", make_from={"scaling": raw / "wham_noise/metadata"})
    make_split(config, 16000)
    one = heard(config.path / f"2speakers/wav16k/max/tt/s1/{TT}.wav")[0]
    np.testing.assert_allclose(one, 0.9 * heard(raw / "wsj0/si_et_05/440/440c0401.wav")[0], atol=0.6 / 32768)
    (raw / "lists/mix_2_spk_tt.txt").write_text("wsj0/si_et_05/440/440c0401.wav 1 wsj0/si_dt_05/050/050a0501.wav -1")
    with pytest.raises(SepasrError, match=r"tt\.txt:1: '440c0401_1_050a0501_-1\.wav' has no gains in"):
        make_split(config, 16000)


def test_spatialised_wsj0_2mix(raw: Path) -> None:
    config = config_of("wsj0_2mix", raw)
    make_split(config, 16000)
    trees = {
        room: {
            part: heard(config.path / f"2speakers_{room}/wav16k/max/tt/{part}/{TT}.wav") for part in ("mix", "s1", "s2")
        }
        for room in ("anechoic", "reverb")
    }
    for signals in trees.values():
        assert signals["mix"].shape == (8, 9600)
        np.testing.assert_allclose(signals["mix"], signals["s1"] + signals["s2"], atol=1.6 / 32768)
    peak = max(np.abs(signal).max() for signals in trees.values() for signal in signals.values())
    assert peak == pytest.approx(0.9, abs=1e-4)
    # The anechoic image is what the reverberant one begins with: same room, same gain, same delay.
    dry, wet = (trees[room]["s1"][3] for room in ("anechoic", "reverb"))
    assert np.corrcoef(dry, wet)[0, 1] > 0.3
    early = np.correlate(wet, dry, "full")
    assert abs(int(early.argmax()) - (len(dry) - 1)) <= 1
    mixture = read_dataset(config, "test", 16000)[0]
    assert mixture.sources[0].direct is not None and mixture.reference_microphone == 3


def independent_whamr(raw: Path, rate: int, length: str) -> dict[str, np.ndarray]:
    """WHAMR!'s definition once more, sample by sample, with pyroomacoustics' own materials."""
    utterances = ("si_et_05/440/440c0401", "si_dt_05/050/050a0501")
    rounded = [np.round(heard(raw / f"wsj0/{name}.wav")[0] * 32768) / 32768 for name in utterances]
    noise = heard(raw / f"wham_noise/tt/{TT}.wav")
    size, t60 = [5.1, 4.2, 3.0], 0.25
    surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    absorption = 24 * np.prod(size) * np.log(10) / (343 * surface * t60)
    images = {}
    pyroomacoustics.constants.set("rir_hpf_enable", False)
    for room, order in (("anechoic", 0), ("reverb", int(np.ceil(t60 * 343 / 3.0)))):
        shoebox = pyroomacoustics.ShoeBox(
            size, fs=16000, materials=pyroomacoustics.Material(float(absorption)), max_order=order
        )
        shoebox.add_source([1.4, 1.7, 1.6])
        shoebox.add_source([3.8, 2.9, 1.5])
        shoebox.add_microphone_array(np.array([[2.5, 2.1, 1.4], [2.65, 2.1, 1.4]]).T)
        shoebox.compute_rir()
        images[room] = []
        for s, signal in enumerate(rounded):
            padded = np.pad(signal, (0, noise.shape[1] - len(signal)))
            both = [fftconvolve(padded, shoebox.rir[m][s][:4000])[: noise.shape[1]] for m in (0, 1)]
            images[room].append(np.stack(both))
    pyroomacoustics.constants.set("rir_hpf_enable", True)
    if rate == 8000:
        images = {room: [resample_poly(one, 1, 2, axis=-1) for one in found] for room, found in images.items()}
        noise, rounded = resample_poly(noise, 1, 2, axis=-1), [resample_poly(one, 1, 2) for one in rounded]
    start = 1601 * rate // 16000
    result = {}
    for s, (signal, gain) in enumerate(zip(rounded, (0.9, 0.6), strict=True)):
        energy = np.sum((np.round(signal * gain * 32768) / 32768 * 0.8) ** 2)
        scale = np.sqrt(energy / np.sum(images["anechoic"][s][0] ** 2))
        for room, found in images.items():
            result[f"s{s + 1}_{room}"] = found[s] * scale
    shorter = min(map(len, rounded))
    for name, image in result.items():
        if length == "min":
            result[name] = image[:, :shorter]
        else:
            result[name] = np.pad(image, ((0, 0), (start, 0)))[:, : noise.shape[1]]
    result["noise"] = 1.1 * (noise[:, start : start + shorter] if length == "min" else noise)
    return result


@pytest.mark.parametrize("rate, length", [(16000, "max"), (16000, "min"), (8000, "max"), (8000, "min")])
def test_whamr(raw: Path, rate: int, length: str) -> None:
    config = config_of("whamr", raw, length=length)
    make_split(config, rate)
    base = config.path / f"wav{rate // 1000}k/{length}/tt"
    expected = independent_whamr(raw, rate, length)
    made = {name: heard(base / name / f"{TT}.wav") for name in expected}
    for name, signal in expected.items():
        # An image that ends before the noise does is cut a response's length later here: nothing is heard there.
        np.testing.assert_allclose(made[name], signal, atol=2e-3 * np.abs(signal).max(), err_msg=name)
    mixture = heard(base / f"mix_both_reverb/{TT}.wav")
    np.testing.assert_allclose(mixture, made["s1_reverb"] + made["s2_reverb"] + made["noise"], atol=1e-6)
    assert soundfile.info(base / f"mix_both_reverb/{TT}.wav").subtype == "FLOAT"
    assert {path.name for path in base.iterdir()} == {*expected, "mix_both_reverb", "made.json"}
    (read,) = read_dataset(config, "test", rate)
    assert read.sources[0].direct == f"dataset/wav{rate // 1000}k/{length}/tt/s1_anechoic/{TT}.wav"


def test_more_of_whamr_in_the_same_place(raw: Path) -> None:
    make_split(config_of("whamr", raw), 16000)
    before = contents(raw.parent / "made")
    config = config_of("whamr", raw, content="single", room="anechoic")
    make_split(config, 16000)
    assert before.items() <= contents(config.path).items()
    (read,) = read_dataset(config, "test", 16000)
    assert "mix_single_anechoic" in read.audio and len(read.sources) == 1


def test_short_reverberation_in_a_large_room_reflects_nothing(raw: Path) -> None:
    table = raw / "tables/reverb_params_tt.csv"
    table.write_text(table.read_text().replace("0.25\n", "0.05\n"))
    config = config_of("whamr", raw)
    make_split(config, 16000)
    base = config.path / "wav16k/max/tt"
    dry, wet = (heard(base / f"s1_{room}/{TT}.wav") for room in ("anechoic", "reverb"))
    np.testing.assert_allclose(dry, wet, atol=1e-6)
    shutil.rmtree(config.path)
    make_split(config_of("whamr", raw, make_from={"absorption": "amplitude"}), 16000)
    assert np.abs(heard(base / f"s1_reverb/{TT}.wav") - dry).max() > 1e-3


@pytest.mark.parametrize("rate, length", [(16000, "max"), (8000, "min")])
def test_librimix(raw: Path, rate: int, length: str) -> None:
    config = config_of("librimix", raw, length=length, content="both")
    make_split(config, rate)
    base = config.path / f"wav{rate // 1000}k/{length}/test"
    name = "21-2-0000_24-5-0000"
    mixture, one, two, noise = (heard(base / f"{part}/{name}.wav")[0] for part in ("mix_both", "s1", "s2", "noise"))
    size = round((0.45 if length == "min" else 0.6) * rate)
    assert len(mixture) == len(two) == size
    np.testing.assert_allclose(mixture, one + two + noise, atol=2.1 / 32768)
    dry = resample_poly(heard(raw / "LibriSpeech/test-clean/24/5/24-5-0000.flac")[0] * 1.2, rate, 16000)
    np.testing.assert_allclose(two[: len(dry)], dry[:size], atol=1.1 / 32768)
    whole = resample_poly(0.5 * heard(raw / f"wham_noise/tt/{TT}.wav")[0, :9600], rate, 16000)
    np.testing.assert_allclose(noise, whole[:size], atol=1.1 / 32768)
    assert (
        read_dataset(config, "test", rate)[0].noise_audio
        == f"dataset/wav{rate // 1000}k/{length}/test/noise/{name}.wav"
    )


def test_noise_at_another_speed_and_noise_that_is_too_short(raw: Path) -> None:
    table = raw / "metadata/libri2mix_test-clean.csv"
    table.write_text(table.read_text().replace(f"{TT}.wav", f"{TT}_sp08.wav"))
    config = config_of("librimix", raw, content="single")
    make_split(config, 16000)
    noise = heard(config.path / "wav16k/max/test/noise/21-2-0000_24-5-0000.wav")[0]
    slow = resample_poly(heard(raw / f"wham_noise/tt/{TT}.wav")[0], 10, 8) * 0.5
    np.testing.assert_allclose(noise, slow[: len(noise)], atol=1.1 / 32768)

    steady = np.ones(FADE + 1000, np.float32)
    long = prolonged(steady, 40000)
    assert len(long) == 40000
    # The two halves of the window add up to one.
    np.testing.assert_allclose(long, 1, atol=1e-3)
    with pytest.raises(SepasrError, match="too short to be prolonged"):
        prolonged(steady[:FADE], 40000)


@pytest.mark.parametrize("kind", ["wsj0_2mix", "whamr", "librimix"])
def test_interrupted_shared_and_parallel_work_gives_the_same_bytes(raw: Path, kind: str) -> None:
    for table in (*raw.glob("lists/*_tt.txt"), *raw.glob("tables/*_tt.csv"), *raw.glob("metadata/*test*.csv")):
        text = table.read_text()
        row = text.splitlines()[-1]
        other = row.replace("440c0401_2.3824", "440c0402_2.3824").replace("440c0401.wav 2", "440c0402.wav 2")
        table.write_text(text + other.replace("21-2-0000_", "31-2-0000_") + "\n")
    shutil.copy(raw / "wsj0/si_et_05/440/440c0401.wav", raw / "wsj0/si_et_05/440/440c0402.wav")
    shutil.copy(raw / f"wham_noise/tt/{TT}.wav", raw / f"wham_noise/tt/{TT.replace('0401', '0402')}.wav")
    for scaling in raw.glob("wham_noise/metadata/*_tt.npz"):
        with np.load(scaling, allow_pickle=True) as old:
            twice = {key: np.concatenate([old[key], old[key]]) for key in old}
        twice["utterance_id"] = np.array([f"{TT}.wav", f"{TT.replace('0401', '0402')}.wav"], dtype=object)
        np.savez(scaling, **twice)
    config = config_of(kind, raw)
    assert make_split(config, 8000)
    expected = contents(config.path)
    assert sum(name.endswith(".wav") for name in expected) >= 6

    # A file that is missing and one that was cut off are made again, and no others.
    first, *others = sorted(path for path in config.path.rglob("*.wav") if "mix" in path.parent.name)
    first.unlink()
    others[-1].write_bytes(others[-1].read_bytes()[:100])
    make_split(config, 8000, workers=2 if kind == "whamr" else 1)
    assert contents(config.path) == expected

    shutil.rmtree(config.path)
    assert not make_split(config, 8000, shard=(2, 2))
    assert make_split(config, 8000, shard=(1, 2))
    assert contents(config.path) == expected


def test_files_of_other_origin_are_left_alone(raw: Path) -> None:
    config = config_of("whamr", raw)
    make_split(config, 16000)
    before = contents(config.path)
    table = raw / "tables/reverb_params_tt.csv"
    table.write_text(table.read_text().replace("0.25\n", "0.3\n"))
    with pytest.raises(SepasrError, match=r"wav16k/max/tt: was made from other tables or settings \(see made\.json\)"):
        make_split(config, 16000)
    (config.path / "wav16k/max/tt/made.json").unlink()
    with pytest.raises(SepasrError, match=r"holds files that were not made here; leave dataset\.make_from out"):
        make_split(config, 16000)
    assert before.items() > contents(config.path).items()


def replace(path: str, old: str, new: str) -> Callable[[Path], object]:
    def work(raw: Path) -> None:
        text = (raw / path).read_text()
        assert old in text
        (raw / path).write_text(text.replace(old, new))

    return work


LIST, ROOM_TABLE = "lists/mix_2_spk_tt.txt", "tables/reverb_params_tt.csv"
FILES, SCALING, METADATA = (
    "tables/mix_2_spk_filenames_tt.csv",
    "wham_noise/metadata/scaling_tt.npz",
    "metadata/libri2mix_test-clean.csv",
)


@pytest.mark.parametrize(
    "kind, work, said",
    [
        ("wsj0_2mix", replace(LIST, "2.38244 ", "loud "), "tt.txt:1: found 'wsj0/si_et_05/440/440c0401.wav loud"),
        ("wsj0_2mix", replace(LIST, "wsj0/si_et_05", "../../etc"), "tt.txt:1: path '../../etc/440/440c0401.wav' leads"),
        ("wsj0_2mix", lambda raw: (raw / LIST).unlink(), "mix_2_spk_tt.txt: no such file"),
        (
            "wsj0_2mix",
            lambda raw: shutil.rmtree(raw / "wsj0/si_et_05"),
            "440c0401.wav: no such file, nor one ending in",
        ),
        ("whamr", replace(ROOM_TABLE, "T60", "RT60"), "reverb_params_tt.csv: no column 'T60' (found utterance_id, "),
        ("whamr", replace(ROOM_TABLE, "0.25\n", "long\n"), "'T60': found 'long', expected a number"),
        ("whamr", replace(ROOM_TABLE, "5.1,", "0.1,"), "no possible room; expected T60 above 0"),
        ("whamr", replace(ROOM_TABLE, "440c", "441c"), "has nothing on '440c0401_2.3824_050a0501_-2.3824.wav' of "),
        ("whamr", replace(FILES, f"\n{TT}.wav", "\n../x.wav"), "'../x.wav' is no plain file name"),
        ("whamr", replace(FILES, "wsj0/si_et_05", "/etc"), "path '/etc/440/440c0401.wav' leads out of"),
        ("whamr", lambda raw: (raw / SCALING).write_bytes(b"x"), "scaling_tt.npz: no archive of arrays"),
        ("whamr", lambda raw: np.savez(raw / SCALING, x=[1]), "scaling_tt.npz: holds no utterance_id; expected"),
        ("whamr", lambda raw: (raw / f"wham_noise/tt/{TT}.wav").unlink(), f"{TT}.wav: no such file; check the path"),
        ("librimix", replace(METADATA, "test-clean/21", "../21"), "path '../21/2/21-2-0000.flac' leads out of"),
        ("librimix", replace(METADATA, ",0.7,", ",nan,"), "'source_1_gain': found 'nan', expected a finite number"),
        ("librimix", replace(METADATA, ",0.7,", ",,"), "libri2mix_test-clean.csv:2: a cell is missing"),
    ],
)
def test_what_is_wrong_is_one_line(raw: Path, kind: str, work: Callable[[Path], object], said: str) -> None:
    work(raw)
    values = {"content": "both"} if kind == "librimix" else {}
    with pytest.raises(SepasrError, match=re.escape(said)) as error:
        make_split(config_of(kind, raw, **values), 16000)
    assert "\n" not in str(error.value)
    assert not list((raw.parent / "made").rglob("*.wav"))


def test_what_cannot_be_made_is_left_out(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / f"wham_noise/tt/{TT}.wav").unlink()
    assert make_split(config_of("whamr", raw), 16000, skip_bad=True)
    assert "whamr tt: 1 mixtures left out; the first: 440c0401_" in capsys.readouterr().err


def test_rooms_need_eight_microphones(raw: Path) -> None:
    with pytest.raises(SepasrError, match=r"for 2 speakers and 2 microphones; set simulation\.array\.microphones to 8"):
        plans(config_of("wsj0_2mix", raw), "test", 16000, 0, SimulationConfig())


def test_noise_of_librimix_is_asked_for(raw: Path) -> None:
    config = config_of("librimix", raw, content="both", make_from={"noise": None})
    with pytest.raises(SepasrError, match=r"content both has noise; set dataset\.make_from\.noise"):
        plans(config, "test", 16000, 0, ROOMS)


def test_simulate_makes_reads_and_goes_on(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "sample_rate: 8000\nroot: raw\nscoring: {reference: direct}\n"
        "dataset: {kind: whamr, path: ../made, make_from: {wsj0: ., noise: wham_noise, tables: tables}}\n"
        "separation: {fft_size: 256, hop: 128}\nrecognition: {features: {kind: filterbank, hop: 80, fft_size: 256}}\n"
        "pretrain_sep: {reference: direct}\njoint_finetune: {reference: direct}\n"
    )
    run = RunDir(tmp_path / "run")
    simulate(run.path, recipe=recipe, shard=(1, 2))
    simulate(run.path, recipe=recipe, shard=(2, 2))
    assert {len(read_manifest(run.require_manifest(split), Mixture)) for split in SPLITS} == {1}
    before = contents(tmp_path / "made")
    capsys.readouterr()
    simulate(run.path)
    said = capsys.readouterr().err
    assert "already done, nothing has changed" in said and "to be made" not in said
    assert contents(tmp_path / "made") == before
    # Whoever has the set alone has the same run.
    shutil.rmtree(raw)
    simulate(run.path, overrides=["dataset.make_from=null"])
    assert "already done, nothing has changed" in capsys.readouterr().err
