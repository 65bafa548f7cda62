"""`info`: every kind of thing is told apart, and its facts are right; broken things are one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli import info, transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.rundir import RunDir
from sepasr_cli.transcripts import Segment

RATE = 8000


def said(start: float, end: float, words: str = "A B", speaker: str = "ann", session: str = "m") -> Segment:
    return Segment(session_id=session, speaker=speaker, start_time=start, end_time=end, words=words)


def test_audio_channel_by_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = np.stack([np.full(RATE, 0.1), np.zeros(RATE), np.where(np.arange(RATE) < 3, 1.0, 0.01)], axis=1)
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    facts = info(tmp_path / "x.wav")
    assert facts["kind"] == "audio" and facts["format"] == "WAV FLOAT"
    assert (facts["sample_rate"], facts["channels"], facts["duration"]) == (RATE, 3, 1.0)
    assert facts["by_channel"] == [
        {"channel": 1, "peak_dbfs": -20.0, "level_dbfs": -20.0, "clipped_samples": 0},
        {"channel": 2, "peak_dbfs": None, "level_dbfs": None, "clipped_samples": 0},
        {"channel": 3, "peak_dbfs": 0.0, "level_dbfs": pytest.approx(-33.2, abs=0.1), "clipped_samples": 3},
    ]
    lines = capsys.readouterr().out.splitlines()
    assert "sample rate  8000" in lines and "by channel" in lines
    assert lines[-2].split() == ["2", "-", "-", "0"]


def test_a_long_file_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 2))
    soundfile.write(tmp_path / "x.wav", draw, RATE, subtype="FLOAT")
    whole = info(tmp_path / "x.wav")
    monkeypatch.setattr("sepasr_cli.inspection.sound.BLOCK", 600)
    assert info(tmp_path / "x.wav") == whole


def test_a_folder_of_audio(tmp_path: Path) -> None:
    for name, rate, channels in (("a.wav", 8000, 1), ("sub/b.flac", 16000, 2), ("sub/c.wav", 16000, 1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros((rate * 3, channels)), rate)
    (tmp_path / "bad.wav").write_text("no audio")
    facts = info(tmp_path)
    assert (facts["files"], facts["hours"], facts["longest"]) == (4, 0.0025, 3.0)
    assert (facts["sample_rates"], facts["channels"]) == ({"8000": 1, "16000": 2}, {"1": 2, "2": 1})
    assert len(facts["broken"]) == 1 and "bad.wav: not an audio file" in facts["broken"][0]


def test_a_transcript_counts_overlap_once(tmp_path: Path) -> None:
    """Ann speaks from 0 to 4 in two segments that share a second, Bob from 3 to 5: 1 of 5 s is said by both."""
    segments = [said(0, 3), said(2, 4), said(3, 5, "C", "bob"), said(0, 2, "D", "bob", session="other")]
    transcripts.write(tmp_path / "t.json", segments)
    facts = info(tmp_path / "t.json")
    assert facts["kind"] == "transcript (SegLST)"
    assert (facts["recordings"], facts["segments"], facts["words"], facts["overlap"]) == (2, 4, 6, 0.1)
    assert facts["by_speaker"] == [
        {"speaker": "ann", "recordings": 1, "segments": 2, "words": 4, "seconds": 5.0},
        {"speaker": "bob", "recordings": 2, "segments": 2, "words": 2, "seconds": 4.0},
    ]
    for kind in ("stm", "rttm"):
        transcripts.write(tmp_path / f"t.{kind}", segments)
        assert info(tmp_path / f"t.{kind}")["overlap"] == 0.1


def test_a_run_and_its_parts(make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(3)
    (run.path / "separator/metrics.jsonl").write_text(
        '{"step": 1, "split": "train", "loss": 3.0}\n{"step": 2, "split": "dev", "loss": 2.0}\n'
        '{"step": 4, "split": "dev", "loss": 1.0}\n{"step": 5, "split": "train", "loss": 1.5}\n{"step": 6, "spl'
    )
    (run.path / "scores/test").mkdir(parents=True)
    (run.path / "scores/test/summary.json").write_text('{"wer": 0.25, "text": "basic"}')
    facts = info(run.path)
    assert facts["kind"] == "run"
    assert facts["recipe"] | {"root": ""} == {"root": "", "sample_rate": "8000", "decoding.method": '"greedy"'}
    assert [row["model"] for row in facts["models"]] == ["separator", "recognizer", "joint"]
    assert facts["models"][2]["weights"] == facts["models"][0]["weights"] + facts["models"][1]["weights"]
    assert facts["training"] == [
        {
            "stage": "separator",
            "steps": 5,
            "loss": 1.5,
            "seconds_a_step": None,
            "validations": 2,
            "best_step": 4,
            "best": "loss=1.0",
        }
    ]
    assert facts["data"][0]["split"] == "test" and facts["data"][0]["mixtures"] == 3
    assert facts["scores"] == [{"scores": "test", "wer": 0.25}]
    assert "decoding.method  " in capsys.readouterr().out
    manifest = info(run.manifest("test"))
    assert (manifest["kind"], manifest["speakers"], manifest["words"]) == ("manifest of mixtures", 2, 12)
    assert (manifest["sample_rates"], manifest["channels"], manifest["missing_audio"]) == ({"8000": 3}, 3, 0)
    assert {"of": "overlap", "least": 1.0, "mean": 1.0, "most": 1.0} in manifest["conditions"]
    (run.data / "test/test_1.flac").unlink()
    assert info(run.manifest("test"))["missing_audio"] == 1


def test_a_model_says_what_it_is(joint_folder: Path, separator_folder: Path) -> None:
    facts = info(separator_folder)
    assert (facts["kind"], facts["speakers"], facts["sample_rate"]) == ("model (tfgridnet)", 2, 8000)
    assert facts["settings"]["blocks"] == "1" and "speakers" not in facts["settings"]
    import torch
    from safetensors.torch import load_file

    weights = load_file(separator_folder / "model.safetensors")
    assert facts["weights"] == sum(torch.numel(value) for value in weights.values())
    assert info(joint_folder)["settings"]["recognizer.encoder.blocks"] == "1"


def test_json_is_the_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transcripts.write(tmp_path / "t.json", [said(0, 1)])
    facts = info(tmp_path / "t.json", json=True)
    assert json.loads(capsys.readouterr().out) == facts


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x", None, "x: no such file or folder; check the path"),
        ("x.wav", "no audio", "x.wav: not an audio file that can be read"),
        ("x.jsonl", '{"id": 1}\n', "x.jsonl: no manifest of mixtures, rooms or separated signals"),
        ("x.jsonl", '{"sources": 1}\n', "x.jsonl:1: 'id' is missing"),
        ("x.json", "{}", "x.json: expected a JSON list of segments"),
    ],
)
def test_what_is_none_of_these_is_one_line(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SepasrError) as caught:
        info(tmp_path / name)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)


def test_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.yaml").write_text(
        "# The one.\nsample_rate: 16000\ndataset: {kind: whamr, path: x, room: anechoic}\n"
    )
    (tmp_path / "two.yaml").write_text("base: a/one.yaml\nrecognition: {features: {kind: filterbank}}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.yaml").write_text("seed: 1\n")
    facts = info(tmp_path)
    assert (facts["kind"], facts["valid"]) == ("recipes", 2)
    assert facts["recipes"][0] == {
        "recipe": "a/one.yaml",
        "valid": True,
        "data": "whamr",
        "sample_rate": 16000,
        "microphones": 2,
        "separator": "tfgridnet",
        "features": "microsoft/wavlm-large",
        "what_for": "The one.",
    }
    assert facts["recipes"][1]["features"] == "filterbank" and facts["recipes"][1]["what_for"] is None
    assert len([line for line in capsys.readouterr().out.splitlines() if ".yaml" in line]) == 2
    assert info(tmp_path / "a/one.yaml") == {
        **{key: value for key, value in facts["recipes"][0].items() if key not in ("recipe", "valid")},
        "kind": "recipe",
        "name": str(tmp_path / "a/one.yaml"),
    }
    (tmp_path / "two.yaml").write_text("sed: 1\n")
    capsys.readouterr()
    with pytest.raises(SepasrError, match=r"1 of 2 recipes are not valid: two\.yaml"):
        info(tmp_path)
    said = capsys.readouterr().out
    assert "unknown key 'sed', is seed meant?" in said and "The one." in said
    with pytest.raises(SepasrError, match="unknown key 'sed'"):
        info(tmp_path / "two.yaml")
