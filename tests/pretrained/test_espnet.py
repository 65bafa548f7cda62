"""Import of ESPnet experiments as they lie on disk. That its models give the same: tests/parity."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained.espnet.experiment import experiments
from sepasr_cli.pretrained.espnet.options import Options
from sepasr_cli.pretrained.espnet.rules import Rule, apply
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.stages.import_espnet import import_espnet


@pytest.fixture
def exp(write_espnet: Callable[[Path], None], tmp_path: Path) -> Path:
    write_espnet(tmp_path / "exp")
    return tmp_path / "exp"


def pack(folder: Path, archive: Path, inner: str = "") -> None:
    """What ESPnet's pack writes: a recogniser with its language model."""
    files = {"asr_model_file": "asr/valid.acc.best.pth", "lm_file": "lm/valid.acc.best.pth"}
    configs = {"asr_train_config": "asr/config.yaml", "lm_train_config": "lm/config.yaml"}
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(f"{inner}meta.yaml", yaml.safe_dump({"files": files, "yaml_files": configs, "torch": "2.0"}))
        for name in [*files.values(), *configs.values()]:
            packed.write(folder / name, f"{inner}{name}")


def test_a_folder(exp: Path, tmp_path: Path) -> None:
    model = import_espnet(str(exp / "asr"), tmp_path / "out", language_model=str(exp / "lm"))
    assert isinstance(model, Recognizer) and model.config.sample_rate == 8000
    again = Recognizer.from_pretrained(str(tmp_path / "out"))
    spoken = LanguageModel.from_pretrained(str(tmp_path / "out" / "language_model"))
    assert again.config == model.config and spoken.vocabulary == again.vocabulary
    assert again.provenance == {"imported_from": str(exp / "asr")}
    state = torch.load(exp / "asr" / "valid.acc.best.pth", weights_only=True)
    assert torch.equal(again.ctc_head.weight, state["ctc.ctc_lo.weight"])
    assert torch.equal(again.normalisation.mean, state["normalize.mean"])
    assert torch.equal(
        spoken.out.bias, torch.load(exp / "lm" / "valid.acc.best.pth", weights_only=True)["lm.decoder.bias"]
    )


@pytest.mark.parametrize("inner", ["", "packed/"])
def test_a_zip_and_what_it_was_unpacked_to(exp: Path, tmp_path: Path, inner: str) -> None:
    pack(exp, tmp_path / "packed.zip", inner)
    import_espnet(str(tmp_path / "packed.zip"), tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "packed.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    import_espnet(str(tmp_path / "unpacked" / inner), tmp_path / "again")
    for name in ("model.safetensors", "language_model/model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_hugging_face_name(exp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(exp, tmp_path / "packed.zip")
    with zipfile.ZipFile(tmp_path / "packed.zip") as packed:
        packed.extractall(tmp_path / "snapshot")

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        assert (name, allow_patterns) == ("espnet/some", ["*.yaml", "*.pth"])
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("sepasr_cli.pretrained.espnet.experiment.snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    assert isinstance(import_espnet("espnet/some", tmp_path / "out"), Recognizer)


def test_which_checkpoint_is_taken(exp: Path) -> None:
    folder = exp / "lm"
    best = folder / "valid.acc.best.pth"
    state = torch.load(best, weights_only=True)
    for number in (1, 2):
        torch.save(state, folder / f"{number}epoch.pth")
    best.unlink()
    best.symlink_to("2epoch.pth")
    (folder / "train.loss.best.pth").symlink_to("2epoch.pth")
    for name, given in (("valid.acc.best.pth", None), ("1epoch.pth", "1epoch.pth")):
        with experiments(str(folder), given) as found:
            assert found[0].weights_path.resolve() == (folder / name).resolve()
    torch.save(state, folder / "valid.acc.ave_10best.pth")
    with experiments(str(folder)) as found:
        assert found[0].weights_path.name == "valid.acc.ave_10best.pth"
    torch.save(state, folder / "valid.loss.ave_10best.pth")
    with pytest.raises(SepasrError, match=r"holds valid.acc.ave_10best.pth, valid.loss.ave_10best.pth; choose one"):
        experiments(str(folder)).__enter__()


def test_nothing_is_written_where_anything_is_not_understood(exp: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((exp / "lm" / "config.yaml").read_text())
    config["token_list"][3] = "C"
    (exp / "lm" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SepasrError, match=r"other tokens than the recogniser"):
        import_espnet(str(exp / "asr"), tmp_path / "out", language_model=str(exp / "lm"))
    assert not (tmp_path / "out").exists()


def test_all_weights_that_do_not_fit_are_listed() -> None:
    model = torch.nn.Linear(2, 3)
    rules = [Rule("weight", ("a.weight",)), Rule("bias", ("a.bias",))]
    weight, bias = torch.randn(3, 2), torch.randn(3)
    apply(rules, {"a.weight": weight, "a.bias": bias}, model, "x.pth")
    assert torch.equal(model.weight, weight) and torch.equal(model.bias, bias)
    expected = r"x.pth: .*: 2 missing \(a.bias, a.weight\), 1 unknown \(b\); give both files"
    with pytest.raises(SepasrError, match=expected):
        apply(rules, {"b": bias}, model, "x.pth")
    with pytest.raises(
        SepasrError, match=r"x.pth: a.weight \(2, 3\): sizes do not fit config.yaml, which makes weight"
    ):
        apply(rules, {"a.weight": weight.T, "a.bias": bias}, model, "x.pth")
    many = {f"b{number}": bias for number in range(11)}
    with pytest.raises(SepasrError, match=r"11 unknown \(b0, b1, b10, b2, b3, b4, b5, b6 and 3 more\)"):
        apply(rules, many | {"a.weight": weight, "a.bias": bias}, model, "x.pth")


def test_settings_are_crossed_off() -> None:
    options = Options({"a": 1, "b": {"c": 2}, "d": 3}, "config.yaml")
    assert options.take("a") == 1 and options.below("b").take("c") == 2
    with pytest.raises(SepasrError, match=r"config.yaml: unknown to import: d;"):
        options.finish()
    with pytest.raises(SepasrError, match=r"config.yaml: d is 3; import knows 4"):
        options.expect(d=4)
    options.finish()
