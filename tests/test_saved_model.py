"""Saved models: plain data on disk, complete, and nothing but data when they are read."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, ModelHubMixin, RepoUrl
from safetensors.torch import load_file, save_file
from transformers import WavLMConfig, WavLMModel

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.features import FilterbankConfig, SSLConfig
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained import load_system
from sepasr_cli.recognition import LanguageModel, Recognizer, RecognizerConfig
from sepasr_cli.saved_model import SavedModel, local_folder, read_config
from sepasr_cli.separation import MaskMVDR, MaskMVDRConfig, TFGridNet


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def mask_mvdr() -> MaskMVDR:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"fft_size": 64, "hop": 32, "layers": 1, "lstm": 4, "projection": 4}
    return MaskMVDR(MaskMVDRConfig(sample_rate=8000, microphones=2, speakers=3, **sizes)).eval()


@pytest.fixture(scope="module")
def every_model(tiny_separator: TFGridNet, mask_mvdr: MaskMVDR, tiny_joint: JointModel) -> dict[str, SavedModel]:
    return {model.kind: model for model in (tiny_separator, mask_mvdr, tiny_joint.recognizer, tiny_joint)}


KINDS = ("tfgridnet", "mask_mvdr", "recognizer", "joint")


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(every_model: dict[str, SavedModel], tmp_path: Path, kind: str) -> None:
    model = every_model[kind]
    model.save_pretrained(tmp_path / "saved")
    again = type(model).from_pretrained(str(tmp_path / "saved"))
    assert again.config == model.config and not again.training
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "saved/model.safetensors").read_bytes()
    assert json.loads((tmp_path / "again/config.json").read_text()) == read_config(tmp_path / "saved")


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("tfgridnet", {"sample_rate": 8000, "microphones": 2, "speakers": 2}),
        ("mask_mvdr", {"sample_rate": 8000, "microphones": 2, "speakers": 3}),
        ("recognizer", {"sample_rate": 8000}),
        ("joint", {"sample_rate": 8000, "microphones": 2, "speakers": 2}),
    ],
)
def test_config_json_says_what_one_must_know(
    every_model: dict[str, SavedModel], tmp_path: Path, kind: str, facts: dict[str, int]
) -> None:
    model = every_model[kind]
    model.provenance = {"recipe": "0123456789abcdef", "steps": 5, "dev": {"si_sdr": 1.5}}
    try:
        model.save_pretrained(tmp_path)
    finally:
        model.provenance = {}
    found = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config = found.pop("config")
    assert found == {"kind": kind, "sepasr_version": sepasr_cli.__version__, **facts} | {
        "recipe": "0123456789abcdef",
        "steps": 5,
        "dev": {"si_sdr": 1.5},
    }
    recognizer = config["recognizer"] if kind == "joint" else config
    if kind in ("joint", "recognizer"):
        assert recognizer["vocabulary"]["tokens"][2:5] == ["<space>", "A", "B"]
    assert type(model).from_pretrained(str(tmp_path)).provenance["steps"] == 5


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_on_disk_is_full_precision_in_memory(
    tiny_joint: JointModel, tmp_path: Path, precision: torch.dtype
) -> None:
    tiny_joint.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    halves = {name: value.to(precision) if value.is_floating_point() else value for name, value in state.items()}
    save_file(halves, tmp_path / "model.safetensors")
    again = JointModel.from_pretrained(str(tmp_path)).own_state()
    assert {name: value.dtype for name, value in again.items()} == {name: value.dtype for name, value in state.items()}
    assert torch.float32 in {value.dtype for value in again.values()}
    for name, value in again.items():
        assert torch.equal(value, halves[name].to(value.dtype)), name


def test_a_language_model_too(tiny_joint: JointModel, tmp_path: Path) -> None:
    config = LanguageModel.Config(
        vocabulary=tiny_joint.recognizer.vocabulary, blocks=1, size=8, heads=2, feed_forward=8
    )
    model = LanguageModel(config).eval()
    model.save_pretrained(tmp_path)
    assert LanguageModel.from_pretrained(str(tmp_path)).config == config


def test_frozen_weights_of_another_model_are_not_saved(tiny_joint: JointModel, tmp_path: Path) -> None:
    """The SSL model belongs to whoever made it; ours names it and keeps what was learned."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    convolution: dict[str, Any] = {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 4)}
    ssl = WavLMConfig(
        intermediate_size=16, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, **sizes, **convolution
    )
    WavLMModel(ssl).save_pretrained(tmp_path / "ssl")
    features = SSLConfig(name=str(tmp_path / "ssl"), reduction=8)
    values = tiny_joint.recognizer.config.model_copy(update={"features": features})
    config = RecognizerConfig.model_validate(values.model_dump())
    joint = JointModel.join(tiny_joint.separator, Recognizer(config)).eval()
    for model, prefix in ((joint, "recognizer."), (joint.recognizer, "")):
        model.save_pretrained(tmp_path / "saved")
        saved = load_file(tmp_path / "saved/model.safetensors")
        assert not [name for name in saved if name.startswith(f"{prefix}features.model.")]
        assert f"{prefix}features.layer_weights" in saved and f"{prefix}features.reduction.weight" in saved
        again = type(model).from_pretrained(str(tmp_path / "saved"))
        for name, value in model.state_dict().items():
            torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
        shutil.rmtree(tmp_path / "saved")


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def _no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").write_text("<html>not found</html>")


def _change_state(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return work


def _change_config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        record = json.loads((folder / "config.json").read_text())
        change(record)
        (folder / "config.json").write_text(json.dumps(record))

    return work


def _write_config(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (_without_config, ": holds no config.json; expected a run directory or a saved model.s folder"),
        (_without_weights, ": holds no model.safetensors; expected a saved model, copy the weights there too"),
        (_cut_weights, r"/model.safetensors: cannot be read \(.*\); copy the model again"),
        (_no_weights_at_all, r"/model.safetensors: cannot be read \(.*\); copy the model again"),
        (
            _change_state(lambda state: state.popitem()),
            "/model.safetensors: 1 weights do not fit the model that config.json describes, .* the first; copy both",
        ),
        (
            _change_state(lambda state: state.update(strange=torch.zeros(1))),
            "/model.safetensors: 1 weights do not fit the model that config.json describes, strange the first; copy",
        ),
        (
            _change_state(lambda state: state.update({key: torch.zeros(2, 2, 2, 2) for key in list(state)[:2]})),
            "/model.safetensors: 2 weights do not fit the model that config.json describes, ",
        ),
        (
            _change_config(lambda record: record["config"].update(lstm=5)),
            r"/model.safetensors: \d+ weights do not fit the model that config.json describes",
        ),
        (
            _change_config(lambda record: record.update(kind="recognizer")),
            ": holds a model of kind 'recognizer', expected 'tfgridnet'",
        ),
        (
            _change_config(lambda record: record["config"].update(blocks=0)),
            "/config.json: 'blocks': found 0, expected a number greater than 0",
        ),
        (_change_config(lambda record: record["config"].update(depth=1)), "/config.json: unknown key 'depth'; allowed"),
        (_write_config("{"), r"/config.json: not JSON \(.*\); copy the model again"),
        (_write_config("[]"), "/config.json: not the configuration of a sepasr model; expected the keys 'kind' and"),
        (_write_config('{"model_type": "wavlm"}'), "/config.json: not the configuration of a sepasr model"),
        (_write_config('{"kind": ["a"], "config": {}}'), "/config.json: not the configuration of a sepasr model"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    separator_folder: Path, tmp_path: Path, damage: Callable[[Path], None], line: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(separator_folder, folder)
    damage(folder)
    with pytest.raises(SepasrError, match=f"^{re.escape(str(folder))}{line}") as caught:
        TFGridNet._from_pretrained(model_id=str(folder))
    assert "\n" not in str(caught.value)


def test_a_name_that_leads_nowhere(tmp_path: Path) -> None:
    for name in ("nobody/nothing", "a b c", str(tmp_path / "nothing")):
        with pytest.raises(SepasrError, match=f"^model '{name}': no such folder, and "):
            local_folder(name)


def test_a_card_says_what_a_model_is(mask_mvdr: MaskMVDR, tmp_path: Path) -> None:
    mask_mvdr.provenance = {"recipe": "0123456789abcdef", "dev": {"loss": 0.25}}
    mask_mvdr.save_pretrained(tmp_path)
    mask_mvdr.provenance = {}
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "sepasr"
    for line in (
        "    sepasr separate INPUT --model FOLDER",
        "| sample rate | 8000 |",
        "| speakers | 3 |",
        "| recipe | 0123456789abcdef |",
        "| dev: loss | 0.25 |",
    ):
        assert line in card.text.splitlines()
    weights = sum(value.numel() for value in mask_mvdr.state_dict().values())
    assert f"| weights | {weights / 1e6:.2f} million |" in card.text


def test_pushed_and_pulled(tiny_joint: JointModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the way but for the network: what would be uploaded lies in a folder, and is what a name then leads to."""
    hub = tmp_path / "hub"

    def upload(api: HfApi, *, repo_id: str, folder_path: Path, **options: object) -> str:
        shutil.copytree(folder_path, hub / repo_id)
        return f"https://huggingface.co/{repo_id}"

    monkeypatch.setattr(
        HfApi, "create_repo", lambda api, repo_id, **options: RepoUrl(f"https://huggingface.co/{repo_id}")
    )
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    monkeypatch.setattr("sepasr_cli.saved_model.snapshot_download", lambda name, **options: str(hub / name))
    tiny_joint.push_to_hub("me/two-speakers")
    again = load_system("me/two-speakers")
    mixture = torch.randn(1, 2, 4000)
    torch.testing.assert_close(again.separator(mixture), tiny_joint.separator(mixture))


def test_sharing_is_that_of_hugging_face(every_model: dict[str, SavedModel]) -> None:
    for model in every_model.values():
        assert type(model).push_to_hub is ModelHubMixin.push_to_hub
        assert type(model).save_pretrained is ModelHubMixin.save_pretrained
        assert type(model).from_pretrained.__func__ is ModelHubMixin.from_pretrained.__func__


def test_nothing_is_ever_unpickled_evaluated_or_run_by_a_shell() -> None:
    """Models, states, recipes and corpora come from anywhere; all of them are plain data.

    Other people's checkpoints are read as tensors alone, and other people's arrays of objects by an unpickler that
    knows no names but its own.
    """
    forbidden = re.compile(
        r"torch\.load\((?!.*weights_only=True)|\bpickle\.(?!UnpicklingError\b)|from pickle|(?<![.\w])(eval|exec)\("
        r"|yaml\.(load|full_load|unsafe_load)\(|shell=True|os\.system"
        r"|allow_pickle=True|weights_only=False|trust_remote_code=True"
    )
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in Path(sepasr_cli.__file__).parent.rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if forbidden.search(line) and (path.name, line) != ("object_arrays.py", "class _Unpickler(pickle.Unpickler):")
    ]
    assert found == []


def test_features_without_another_model_have_nothing_to_leave_out(tiny_joint: JointModel) -> None:
    assert isinstance(tiny_joint.recognizer.config.features, FilterbankConfig)
    assert tiny_joint.own_state().keys() == tiny_joint.state_dict().keys()
