"""Where models come from: run directories, saved folders, names."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained import choose_system, load_model, load_separator, load_system
from sepasr_cli.recipe import load_recipe
from sepasr_cli.rundir import RunDir
from sepasr_cli.separation import TFGridNet


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("sepasr_cli.bundled.FOLDER", Path("nowhere"))


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.parameters()])


@pytest.fixture
def run(tmp_path: Path, tiny_joint: JointModel) -> RunDir:
    """A run whose joint model differs from the cascade it was made of."""
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    (tmp_path / "recipe.yaml").write_text("sample_rate: 8000")
    run.write_recipe(load_recipe(tmp_path / "recipe.yaml"))
    tiny_joint.separator.save_pretrained(run.path / "separator")
    tiny_joint.recognizer.save_pretrained(run.path / "recognizer")
    joint = JointModel.from_pretrained(str(_saved(tiny_joint, tmp_path / "copy")))
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.add_(1)
    joint.save_pretrained(run.path / "joint")
    return run


def _saved(model: JointModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def test_the_joint_model_of_a_run_unless_the_cascade_is_asked_for(run: RunDir, tiny_joint: JointModel) -> None:
    before = weights(tiny_joint)
    for system, shift in ((None, 1), ("joint", 1), ("cascade", 0)):
        loaded = load_system(str(run.path), system=system)
        assert isinstance(loaded, JointModel) and not loaded.training
        torch.testing.assert_close(weights(loaded), before + shift)
        separator = load_separator(str(run.path), system=system)
        torch.testing.assert_close(weights(separator), weights(tiny_joint.separator) + shift)
    shutil.rmtree(run.path / "joint")
    assert choose_system(run, None) == "cascade"
    torch.testing.assert_close(weights(load_system(str(run.path))), before)


def test_saved_folders(separator_folder: Path, joint_folder: Path) -> None:
    assert isinstance(load_separator(str(separator_folder)), TFGridNet)
    assert isinstance(load_separator(str(joint_folder), torch.device("cpu")), TFGridNet)
    assert isinstance(load_system(str(joint_folder)), JointModel)


@pytest.mark.parametrize(
    ("folder", "system", "line"),
    [
        ("joint", "joint", "joint: no trained model; run `sepasr joint-finetune .*run` first"),
        ("separator", "cascade", "separator: no trained model; run `sepasr pretrain-sep .*run` first"),
        ("recognizer", "cascade", "recognizer: no trained model; run `sepasr pretrain-asr .*run` first"),
    ],
)
def test_a_run_without_one_of_its_models(run: RunDir, folder: str, system, line: str) -> None:
    shutil.rmtree(run.path / folder)
    with pytest.raises(SepasrError, match=line):
        load_system(str(run.path), system=system)


def test_models_that_do_something_else(run: RunDir, separator_folder: Path) -> None:
    recognizer = str(run.path / "recognizer")
    with pytest.raises(SepasrError, match="holds a recognizer, which separates nothing; give a separator or a joint"):
        load_separator(recognizer)
    for alone in (recognizer, str(separator_folder)):
        with pytest.raises(SepasrError, match="alone; transcribing takes a run directory or a joint model"):
            load_system(alone)


def test_models_of_different_rates_are_not_joined(run: RunDir) -> None:
    path = run.path / "recognizer/config.json"
    record = json.loads(path.read_text())
    record["config"]["sample_rate"] = 16000
    path.write_text(json.dumps(record))
    with pytest.raises(SepasrError, match="works at 8000 Hz, the recogniser at 16000 Hz; they must be equal"):
        load_system(str(run.path), system="cascade")


def test_no_model_at_all(tmp_path: Path) -> None:
    for load in (load_separator, load_system):
        with pytest.raises(SepasrError, match="comes without the bundled model's weights; pass --model with a run"):
            load(None)
        with pytest.raises(SepasrError, match="model 'nobody/nothing': no such folder, and it is not in the cache"):
            load("nobody/nothing")
        with pytest.raises(SepasrError, match=rf"{tmp_path}: holds no config\.json; expected a run directory or a"):
            load(str(tmp_path))


def test_a_kind_that_is_unknown(separator_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(separator_folder, tmp_path / "model")
    (tmp_path / "model/config.json").write_text('{"kind": "conv_tasnet", "config": {}}')
    with pytest.raises(
        SepasrError, match="holds a model of kind 'conv_tasnet'; expected one of by_microphones, joint, language_model"
    ):
        load_model(str(tmp_path / "model"))
