"""The model that comes with the package: taken where none is named, by its name, and what is said of it.

A tiny model stands in for its weights.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sepasr_cli import bundled, doctor, info
from sepasr_cli.errors import SepasrError
from sepasr_cli.joint import JointModel
from sepasr_cli.recognition import LanguageModel, LanguageModelConfig
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.separate import separate
from sepasr_cli.stages.transcribe import build_pipeline, transcribe

SAID = "model: bundled, version 0.9, trained on two speakers, letters"


@pytest.fixture
def box(tmp_path: Path, tiny_joint: JointModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its folder, which says that words are searched for greedily; any look at the hub fails."""
    model = JointModel.join(tiny_joint.separator, tiny_joint.recognizer).eval()
    decoding = {"method": "greedy", "ctc_weight": 0.5}
    model.provenance = {"version": "0.9", "trained_on": "two speakers, letters", "decoding": decoding}
    model.save_pretrained(tmp_path / "box")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "box")
    monkeypatch.setattr("sepasr_cli.saved_model.snapshot_download", None)
    return tmp_path / "box"


@pytest.fixture
def recording(tmp_path: Path, talkers: np.ndarray) -> Path:
    path = tmp_path / "two_people.wav"
    soundfile.write(path, talkers.T, 8000)
    return path


@pytest.mark.parametrize("name", [None, "bundled"])
def test_files_are_transcribed_with_it(
    box: Path, recording: Path, name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = transcribe([recording], name, device="cpu")
    outcome.check()
    heard = capsys.readouterr()
    assert heard.err.splitlines()[0] == SAID and heard.out
    named = transcribe([recording], str(box), device="cpu")
    assert named.segments == outcome.segments
    assert all(one.word_times is None and one.word_confidences is None for one in outcome.segments)
    assert "bundled" not in capsys.readouterr().err


def test_files_are_separated_with_it(
    box: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    separate([recording], out=tmp_path / "a", device="cpu").check()
    assert capsys.readouterr().err.splitlines()[0] == SAID
    separate([recording], str(box), out=tmp_path / "b", device="cpu").check()
    for path in (tmp_path / "a").iterdir():
        assert np.array_equal(soundfile.read(path)[0], soundfile.read(tmp_path / "b" / path.name)[0])


def test_its_users_are_warned_and_others_are_not(
    box: Path,
    tmp_path: Path,
    talkers: np.ndarray,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sepasr_cli.inference.familiar.CONFIDENT", 1.01)
    monkeypatch.setattr("sepasr_cli.inference.familiar.FEWEST_WORDS", 1)
    path = tmp_path / "fast.wav"
    soundfile.write(path, talkers.T, 16000)
    transcribe([path], device="cpu", speakers=3).check()
    said = capsys.readouterr().err
    assert f"warning: {path}: 16000 Hz, resampled to the model's 8000 Hz" in said
    assert f"warning: {path}: 3 speakers expected, the model tells 2 apart" in said
    assert f"warning: {path}: few words were recognised with confidence; the model was trained on two" in said
    transcribe([path], str(box), device="cpu", speakers=3).check()
    assert "warning" not in capsys.readouterr().err


def test_it_brings_its_own_search_and_language_model(box: Path, tiny_joint: JointModel) -> None:
    def pipeline(**search: Any) -> Any:
        return build_pipeline(None, None, None, None, "cpu", "fp32", search, False, False)

    assert pipeline().decoding.method == "greedy" and pipeline().decoding.ctc_weight == 0.5
    assert pipeline(method="beam").decoding.method == "beam"
    assert pipeline(method="beam").language_model is None
    config = LanguageModelConfig(vocabulary=tiny_joint.recognizer.vocabulary, blocks=1, size=8, heads=2, feed_forward=8)
    LanguageModel(config).eval().save_pretrained(box / "language_model")
    assert pipeline(method="beam").language_model is not None


def test_a_run_without_models_is_transcribed_and_separated_with_it(
    box: Path, make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(2)
    transcribe([run.path], split="test", device="cpu").check()
    assert "bundled" not in capsys.readouterr().err
    for folder in ("separator", "recognizer", "joint", "transcripts"):
        (run.path / folder).rename(run.path.parent / folder)
    for command, folder in ((transcribe, "transcripts"), (separate, "separated")):
        command([run.path], split="test", device="cpu").check()
        line = f"{run.path}: has trained no model of its own; {SAID}"
        assert capsys.readouterr().err.splitlines()[0] == line
        record = json.loads((run.path / folder / "test/stage.json").read_text())
        assert record["made_from"]["settings"]["model"] == "bundled"
        # Asked for by name it is the same work.
        command([run.path], "bundled", split="test", device="cpu").check()
        assert "already done, nothing has changed" in capsys.readouterr().err


def test_a_run_that_has_begun_to_train_is_left_to_its_own(box: Path, make_run: Callable[..., RunDir]) -> None:
    run = make_run(1, joint=False)
    (run.path / "separator/model.safetensors").unlink()
    with pytest.raises(SepasrError, match="separator: no trained model; run `sepasr pretrain-sep"):
        separate([run.path], split="test", device="cpu")


def test_info_and_doctor_know_it(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = info("bundled")
    assert (facts["kind"], facts["version"], facts["trained_on"]) == ("model (joint)", "0.9", "two speakers, letters")
    assert doctor().bundled == SAID
    monkeypatch.setattr(bundled, "FOLDER", box / "nothing")
    assert "comes without the bundled model's weights" in doctor().bundled
    doctor().check()


def test_the_weights_in_this_copy_are_whole_and_small() -> None:
    if not bundled.is_there():
        pytest.skip("this copy comes without the bundled model's weights")
    model = JointModel.from_pretrained(bundled.resolved(None))
    config = model.config.separator
    assert (config.sample_rate, config.speakers, list(model.separator.takes)) == (16000, 2, [1, 2, 3, 4])
    assert sum(path.stat().st_size for path in bundled.FOLDER.rglob("*") if path.is_file()) <= 25_000_000
    assert "Carnegie Mellon University" in (bundled.FOLDER / "README.md").read_text("utf-8")
