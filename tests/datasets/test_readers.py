"""Published sets read where they lie: what is found, and that every mismatch is told."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import TypeAdapter, ValidationError

from sepasr_cli.datasets import DatasetConfig, read_dataset
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture

RATE = 8000
NAME = "050a0501_2_22ga0101_-2"

Publish = Callable[..., Path]


def config_of(kind: str, path: Path, **values: object) -> DatasetConfig:
    return TypeAdapter(DatasetConfig).validate_python({"kind": kind, "path": path, **values})


def test_spatialised_wsj0_2mix(publish: Publish, tmp_path: Path) -> None:
    config = config_of("wsj0_2mix", publish("wsj0_2mix", tmp_path), transcripts=tmp_path / "wsj0")
    assert (config.microphones, config.reference_microphone, config.references) == (8, 3, ("direct", "image"))
    train, (test,) = read_dataset(config, "train", RATE), read_dataset(config, "test", RATE)
    assert [mixture.id for mixture in train] == ["01to0301_1_20ga0101_-1", "01to030v_0.5_20ga010m_-0.5"]
    below = f"wav8k/max/tt/s1/{NAME}.wav"
    assert (test.id, test.audio) == (NAME, f"dataset/2speakers_reverb/wav8k/max/tt/mix/{NAME}.wav")
    assert (test.duration, test.sample_rate, test.reference_microphone) == (0.5, RATE, 3)
    one, two = test.sources
    assert (one.speaker, one.utterance, one.text, one.end) == ("050", "050a0501", "ONE TWO", 0.5)
    assert (two.speaker, two.utterance, two.text) == ("22g", "22ga0101", "ONE GO")
    assert one.image == f"dataset/2speakers_reverb/{below}"
    assert one.direct == f"dataset/2speakers_anechoic/{below}" and one.early is None


def test_rooms_of_wsj0_2mix(publish: Publish, tmp_path: Path) -> None:
    publish("wsj0_2mix", tmp_path)
    dry = config_of("wsj0_2mix", tmp_path, room="anechoic")
    (mixture,) = read_dataset(dry, "test", RATE)
    source = mixture.sources[0]
    assert source.text is None
    assert source.direct == source.early == source.image == f"dataset/2speakers_anechoic/wav8k/max/tt/s1/{NAME}.wav"
    rooms = {"train": "both", "dev": "both", "test": "anechoic"}
    both = config_of("wsj0_2mix", tmp_path, room=rooms)
    train = [mixture.id for mixture in read_dataset(both, "train", RATE)]
    assert len(train) == 4 and sorted({name.rpartition("_")[2] for name in train}) == ["anechoic", "reverberant"]
    assert [mixture.id for mixture in read_dataset(both, "test", RATE)] == [NAME]
    mono = config_of("wsj0_2mix", tmp_path, room="none")
    assert (mono.microphones, mono.reference_microphone) == (1, 0)
    assert read_dataset(mono, "test", RATE)[0].audio == f"dataset/2speakers/wav8k/max/tt/mix/{NAME}.wav"
    # Where the reverberant version lies alone there are no direct references.
    shutil.rmtree(tmp_path / "2speakers_anechoic")
    alone = read_dataset(config_of("wsj0_2mix", tmp_path), "test", RATE)[0].sources[0]
    assert alone.direct is None and alone.image is not None


def test_whamr(publish: Publish, tmp_path: Path) -> None:
    publish("whamr", tmp_path)
    (mixture,) = read_dataset(config_of("whamr", tmp_path, transcripts=tmp_path / "wsj0"), "test", RATE)
    assert mixture.audio == f"dataset/wav8k/max/tt/mix_both_reverb/{NAME}.wav"
    assert mixture.noise_audio == f"dataset/wav8k/max/tt/noise/{NAME}.wav"
    two = mixture.sources[1]
    assert (two.direct, two.image) == tuple(f"dataset/wav8k/max/tt/s2_{r}/{NAME}.wav" for r in ("anechoic", "reverb"))
    assert two.text == "ONE GO"
    single = config_of("whamr", tmp_path, content="single", room="anechoic")
    (mixture,) = read_dataset(single, "test", RATE)
    assert single.speakers == len(mixture.sources) == 1
    assert mixture.sources[0].early == f"dataset/wav8k/max/tt/s1_anechoic/{NAME}.wav"
    (mixture,) = read_dataset(config_of("whamr", tmp_path, content="clean"), "test", RATE)
    assert mixture.noise_audio is None and mixture.audio.startswith("dataset/wav8k/max/tt/mix_clean_reverb/")


def test_librimix(publish: Publish, tmp_path: Path) -> None:
    publish("librimix", tmp_path, 16000)
    config = config_of("librimix", tmp_path, content="both", transcripts=tmp_path / "LibriSpeech")
    (mixture,) = read_dataset(config, "train", 16000)
    assert mixture.audio == "dataset/wav16k/max/train-100/mix_both/1-2-3_4-5-6.wav"
    assert [(s.speaker, s.text, s.early) for s in mixture.sources] == [
        ("1", "ONE GO", "dataset/wav16k/max/train-100/s1/1-2-3_4-5-6.wav"),
        ("4", "TWO GO", "dataset/wav16k/max/train-100/s2/1-2-3_4-5-6.wav"),
    ]


def test_sms_wsj(publish: Publish, tmp_path: Path) -> None:
    (mixture,) = read_dataset(config_of("sms_wsj", publish("sms_wsj", tmp_path), microphone=2), "dev", RATE)
    assert mixture.audio == "dataset/observation/cv_dev93/0_4k6c0303_4k4c0319.wav"
    assert mixture.noise_audio == "dataset/noise/cv_dev93/0_4k6c0303_4k4c0319.wav"
    assert mixture.reference_microphone == 2
    one, two = mixture.sources
    assert (two.utterance, two.speaker, two.text, two.start, two.end) == ("4k4c0319", "4k4", "GO", 0.0125, 0.2625)
    assert one.early == "dataset/early/cv_dev93/0_4k6c0303_4k4c0319_0.wav" and one.image is None


def test_libricss(publish: Publish, tmp_path: Path) -> None:
    config = config_of("libricss", publish("libricss", tmp_path, 16000), conditions=["OV10"], sessions={"test": [1]})
    assert read_dataset(config, "train", 16000) == read_dataset(config, "dev", 16000) == []
    (session,) = read_dataset(config, "test", 16000)
    assert session.id == "OV10_session1"
    assert [(s.speaker, s.utterance, s.text, s.start, s.end) for s in session.sources] == [
        ("1188", "1188-1-2", "GO", 0.05, 0.3),
        ("237", "237-1-2", "TWO", 0.2, 0.4),
    ]


def test_some_of_each_split(publish: Publish, tmp_path: Path) -> None:
    publish("whamr", tmp_path)
    config = config_of("whamr", tmp_path, mixtures={"train": 1})
    assert [len(read_dataset(config, split, RATE)) for split in ("train", "test")] == [1, 1]


def test_the_number_is_compared_with_the_published_one(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read_dataset(config_of("whamr", publish("whamr", tmp_path)), "train", RATE)
    assert "dataset whamr tr: 2 mixtures found, the published set has 20000" in capsys.readouterr().err


def spoil(path: Path, seconds: float = 0.5, rate: int = RATE, channels: int = 2) -> Callable[[], None]:
    return lambda: soundfile.write(path, np.zeros((round(seconds * rate), channels)), rate)


@pytest.mark.parametrize(
    "work, said",
    [
        (lambda f: (f / f"s1_reverb/{NAME}.wav").unlink(), "1 without a file in every folder (the first: 050a0501_2_"),
        (lambda f: (f / f"mix_both_reverb/{NAME}.wav").rename(f / "mix_both_reverb/odd.wav"), "2 without a file in e"),
        (lambda f: (f / f"noise/{NAME}.wav").write_text("no audio"), "1 with audio that cannot be read (the first: "),
        (lambda f: spoil(f / f"s2_anechoic/{NAME}.wav", 0.4)(), "1 of another length (the first: "),
        (lambda f: spoil(f / f"mix_both_reverb/{NAME}.wav", 0.5, 16000)(), "1 of another sample rate (the first: "),
        (lambda f: spoil(f / f"mix_both_reverb/{NAME}.wav", channels=1)(), "1 with too few channels (the first: "),
    ],
    ids=["no source", "another name", "no audio", "length", "sample rate", "channels"],
)
def test_a_mismatch_is_told_or_left_out(
    publish: Publish, tmp_path: Path, work: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = publish("whamr", tmp_path) / "wav8k/max/tt"
    for place in folder.iterdir():
        shutil.copy(place / f"{NAME}.wav", place / "440c0401_1_22ga0101_-1.wav")
    work(folder)
    with pytest.raises(SepasrError, match=f"dataset whamr tt: {re.escape(said)}.*; mend them, or pass --skip-bad"):
        read_dataset(config_of("whamr", tmp_path), "test", RATE)
    (left,) = read_dataset(config_of("whamr", tmp_path), "test", RATE, skip_bad=True)
    assert left.id == "440c0401_1_22ga0101_-1"
    assert f"left out: {said}" in capsys.readouterr().err


def test_all_reasons_are_told_at_once(publish: Publish, tmp_path: Path) -> None:
    folder = publish("whamr", tmp_path) / "wav8k/max/tr"
    first, second = sorted((folder / "mix_both_reverb").iterdir())
    spoil(first, 0.3)()
    spoil(second, rate=16000)()
    with pytest.raises(SepasrError, match=r"1 of another length \(.*\); 1 of another sample rate \("):
        read_dataset(config_of("whamr", tmp_path), "train", RATE)


def test_half_a_tree(publish: Publish, tmp_path: Path) -> None:
    shutil.rmtree(publish("whamr", tmp_path) / "wav8k/max/tt/s2_anechoic")
    with pytest.raises(SepasrError, match=r"wav8k/max/tt/s2_anechoic: no such folder; expected the files of both in a"):
        read_dataset(config_of("whamr", tmp_path), "test", RATE)
    with pytest.raises(SepasrError, match=r"wav16k/max/tt: no such folder; expected wav8k or wav16k, min or max"):
        read_dataset(config_of("whamr", tmp_path), "test", 16000)
    with pytest.raises(SepasrError, match=r"2speakers_reverb/.*mix: no such folder"):
        read_dataset(config_of("wsj0_2mix", tmp_path), "test", RATE)


def test_an_utterance_without_transcript(publish: Publish, tmp_path: Path) -> None:
    publish("whamr", tmp_path)
    texts = tmp_path / "wsj0/all.dot"
    texts.write_text("".join(line for line in texts.read_text().splitlines(True) if "050a0501" not in line))
    config = config_of("whamr", tmp_path, transcripts=tmp_path / "wsj0")
    with pytest.raises(SepasrError, match=r"tt: 1 without a transcript \(the first: .*: utterance '050a0501'\)"):
        read_dataset(config, "test", RATE)
    texts.unlink()
    with pytest.raises(SepasrError, match=r"wsj0: holds no transcripts; expected files ending in \.dot, "):
        read_dataset(config, "test", RATE)


def test_min_has_no_transcripts(tmp_path: Path) -> None:
    for kind in ("whamr", "wsj0_2mix", "librimix"):
        with pytest.raises(ValidationError, match="length min cuts words off"):
            config_of(kind, tmp_path, length="min", transcripts=tmp_path)
    with pytest.raises(ValidationError, match="room is none for some splits"):
        config_of("wsj0_2mix", tmp_path, room={"train": "none", "dev": "none", "test": "anechoic"})


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda one: one.pop("offset"), "1 with a broken record .*KeyError 'offset'"),
        (lambda one: one.update(offset=[0, 10**9]), "1 with a broken record .*starts at 125000 s of 0.5 s"),
        (lambda one: one["audio_path"].update(observation="/etc/passwd"), "1 with a broken record .*no folder observ"),
        (
            lambda one: one["audio_path"].update(observation="/x/observation/../../../etc/passwd"),
            "1 with a broken record .*no folder observation",
        ),
        (lambda one: one["audio_path"].update(observation="/x/observation/no.wav"), "1 with audio that cannot be read"),
        (lambda one: one.update(kaldi_transcription=["ONE", "[tap]"]), "1 without a transcript"),
    ],
    ids=["key", "offset", "path", "path out", "no file", "no words"],
)
def test_a_broken_json(publish: Publish, tmp_path: Path, change: Callable[[dict], None], said: str) -> None:
    path = publish("sms_wsj", tmp_path) / "sms_wsj.json"
    database = json.loads(path.read_text())
    change(next(iter(database["datasets"]["test_eval92"].values())))
    path.write_text(json.dumps(database))
    with pytest.raises(SepasrError, match=f"dataset sms_wsj test_eval92: {said}"):
        read_dataset(config_of("sms_wsj", tmp_path), "test", RATE)


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "sms_wsj.json: not JSON"),
        ("{}", "sms_wsj.json: lacks 'datasets'; expected"),
        ('{"datasets": {"test_eval92": []}}', "lacks 'test_eval92' is no set of examples"),
    ],
)
def test_no_database(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sms_wsj.json").write_text(text)
    with pytest.raises(SepasrError, match=said):
        read_dataset(config_of("sms_wsj", tmp_path), "test", RATE)


def test_libricss_in_part(publish: Publish, tmp_path: Path) -> None:
    publish("libricss", tmp_path, 16000)
    with pytest.raises(SepasrError, match="8 sessions that are not there"):
        read_dataset(config_of("libricss", tmp_path, conditions=["OV10"]), "test", 16000)
    table = next(tmp_path.rglob("*session1*/transcription/meeting_info.txt"))
    config = config_of("libricss", tmp_path, conditions=["OV10"], sessions={"test": [1]})
    table.write_text(table.read_text() + "0.3\t0.9\t1\t1-2-3\tPAST THE END\n")
    with pytest.raises(SepasrError, match=r"1 with times outside the file .*'1-2-3' from 0.3 to 0.9 s of 0.5 s"):
        read_dataset(config, "test", 16000)
    table.write_text("0.1 0.2 x\n")
    with pytest.raises(SepasrError, match=r"meeting_info.txt:1: found '0.1 0.2 x', expected start, end, speaker"):
        read_dataset(config, "test", 16000)


def test_references_are_of_the_microphone_they_are_said_to_be(publish: Publish, tmp_path: Path) -> None:
    mixture: Mixture = read_dataset(config_of("wsj0_2mix", publish("wsj0_2mix", tmp_path)), "test", RATE)[0]
    files = [source.image for source in mixture.sources]
    samples = [soundfile.read(tmp_path / str(name).removeprefix("dataset/"))[0] for name in (mixture.audio, *files)]
    at = mixture.reference_microphone
    np.testing.assert_allclose(samples[0][:, at], samples[1][:, at] + samples[2][:, at], atol=1e-6)
