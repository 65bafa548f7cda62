"""recipes/bundled/bundle.py: a run's models become one small folder that loads, with a card; whole or not at all."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from sepasr_cli.errors import SepasrError
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained import language_model_of, load_language_model, load_separator, load_system
from sepasr_cli.recognition import LanguageModel, LanguageModelConfig
from sepasr_cli.rundir import RunDir
from sepasr_cli.separation import ByMicrophones, TFGridNet

SCRIPT = Path(__file__).parents[1] / "recipes" / "bundled" / "bundle.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def notice(tmp_path: Path) -> Path:
    path = tmp_path / "LICENSE"
    path.write_text("Copyright of those who spoke\n")
    return path


def test_one_microphone_has_its_own_separator(
    script: ModuleType, make_run: Callable[..., RunDir], notice: Path, tmp_path: Path
) -> None:
    run = make_run(1)
    several = load_separator(str(run.path))
    assert isinstance(several, TFGridNet)
    one = TFGridNet(several.config.model_copy(update={"microphones": 1})).eval()
    joined = JointModel.join(ByMicrophones.join(one, several), load_system(str(run.path)).recognizer)
    joined.save_pretrained(run.path / "joint")
    script.bundle(run.path, tmp_path / "box", license_file=notice)
    both = load_separator(str(tmp_path / "box"))
    mixture = torch.randn(1, 2, 4000)
    with torch.no_grad():
        torch.testing.assert_close(both(mixture), several(mixture), rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(both(mixture[:, :1]), one(mixture[:, :1]), rtol=1e-2, atol=1e-3)
    card = (tmp_path / "box" / "README.md").read_text()
    assert "1 to 2 microphones" in card and "recipes/bundled/one_microphone.yaml" in card


@pytest.mark.parametrize("system", ["joint", "cascade"])
def test_a_run_becomes_one_folder(
    script: ModuleType, make_run: Callable[..., RunDir], notice: Path, tmp_path: Path, system: str
) -> None:
    run, out = make_run(1, joint=system == "joint"), tmp_path / "box"
    recogniser = load_system(str(run.path)).recognizer
    config = LanguageModelConfig(vocabulary=recogniser.vocabulary, blocks=1, size=8, heads=2, feed_forward=8)
    LanguageModel(config).eval().save_pretrained(run.path / "language_model")
    (tmp_path / "figures.json").write_text('{"wer": 0.125, "text": "basic"}')
    script.bundle(
        run.path,
        out,
        figures=tmp_path / "figures.json",
        license_file=notice,
        overrides=["decoding.lm_weight=0.25"],
    )
    before, after = load_system(str(run.path)).own_state(), load_system(str(out)).own_state()
    stored = load_file(out / "model.safetensors")
    assert {value.dtype for value in stored.values() if value.dim() > 1} == {torch.float16}
    assert {value.dtype for value in after.values()} == {value.dtype for value in before.values()}
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-4)
        if value.dim() <= 1:
            assert torch.equal(after[name], value), name
    assert language_model_of(str(out)) is not None
    assert load_language_model(str(out)).config == config
    record = json.loads((out / "config.json").read_text())
    assert record["decoding"]["method"] == "greedy" and record["decoding"]["lm_weight"] == 0.25
    assert record["system"] == system and "AN4's vocabulary" in record["trained_on"]
    card = (out / "README.md").read_text()
    assert "| wer | 0.125 |" in card and "Copyright of those who spoke" in card and "{" not in card
    assert ("joint-finetune" in card) == (system == "joint")


def test_what_is_there_stays_where_it_cannot_be_made(
    script: ModuleType,
    make_run: Callable[..., RunDir],
    notice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, out = make_run(1), tmp_path / "box"
    script.bundle(run.path, out, license_file=notice, version="1")
    with pytest.raises(SepasrError, match="trains on no AN4, whose notice the card holds"):
        script.bundle(run.path, out, version="2")
    with pytest.raises(SepasrError, match=r"nope\.md: no such file, which the model card holds; check the path"):
        script.bundle(run.path, out, license_file=notice, figures=Path("nope.md"), version="2")
    monkeypatch.setattr(script, "MOST", 1000)
    with pytest.raises(SepasrError, match=r"MB, at most 0\.001 are allowed; train smaller models"):
        script.bundle(run.path, out, license_file=notice, version="2")
    assert json.loads((out / "config.json").read_text())["version"] == "1"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".bundle-")] == []
    monkeypatch.undo()
    script.bundle(run.path, out, license_file=notice, version="2")
    assert json.loads((out / "config.json").read_text())["version"] == "2"


def test_a_value_beyond_half_precision_stays(script: ModuleType, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"large": torch.tensor([[1e6]]), "small": torch.tensor([[0.1]]), "count": torch.tensor([[3]])}, path)
    script.halve(path)
    found = load_file(path)
    assert {name: value.dtype for name, value in found.items()} == {
        "large": torch.float32,
        "small": torch.float16,
        "count": torch.int64,
    }
