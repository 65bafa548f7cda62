"""Every recipe that ships is valid and complete and says its difference alone; none of a comparison is missing."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from sepasr_cli import info
from sepasr_cli.recipe import Recipe, load_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
PAPER = FOLDER / "wsj0_2mix_spatialized/tfgridnet_wavlm.yaml"
ROWS = [
    f"{separator}_{features}" for separator, features in product(("tfgridnet", "mask_mvdr"), ("wavlm", "filterbank"))
]


def name(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def test_there_are_recipes() -> None:
    assert {"debug.yaml", "an4/tfgridnet.yaml", "libricss/evaluate.yaml"} <= set(map(name, RECIPES))


@pytest.mark.parametrize("folder", ["wsj0_2mix_spatialized", "whamr", "librispeech_2mix"])
def test_every_row_of_the_comparison_is_there(folder: str) -> None:
    wanted = {f"{row}{room}" for row in ROWS for room in ("", "_anechoic")} | {"tfgridnet_8k_min", "mask_mvdr_8k_min"}
    assert wanted <= {path.stem for path in (FOLDER / folder).glob("*.yaml")}
    readme = (FOLDER / folder / "README.md").read_text()
    assert all(f"{row}.yaml" in readme for row in wanted)


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_loads_and_reads_back(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, [f"root={tmp_path / 'recipes' / 'data'}"])
    places = [corpus.path for split in recipe.corpora for corpus in split[1]]
    if recipe.dataset is not None:
        places.append(recipe.dataset.path)
    else:
        wanted = [split for split in ("train", "dev", "test") if recipe.simulation.mixtures[split] > 0]
        assert wanted, "no mixtures"
        for split in wanted:
            assert getattr(recipe.corpora, split), f"no corpus for {split}"
    assert all(place.is_relative_to(tmp_path) for place in places), "paths are not relative to root"
    mixing = recipe.pretrain_sep.dynamic_mixing or recipe.joint_finetune.dynamic_mixing
    if mixing and recipe.simulation.mixtures["train"] > 0:
        assert recipe.simulation.response_bank > 0
    resolved = tmp_path / "recipe.yaml"
    resolved.write_text(recipe.to_yaml())
    assert load_recipe(resolved) == recipe
    load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_says_at_the_top_what_it_is_for(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", [path for path in RECIPES if "\nbase: " in path.read_text()], ids=name)
def test_states_its_difference_alone(path: Path) -> None:
    stated = yaml.safe_load(path.read_text())
    base = load_recipe(path.parent / stated.pop("base")).model_dump(mode="json")
    stated.pop("root", None)
    same = [key for key, value, before in leaves(stated, base, "") if value == before]
    assert not same, f"{same} as in the base"


def leaves(stated: dict[str, Any], base: dict[str, Any], prefix: str) -> list[tuple[str, Any, Any]]:
    """Every value that is stated and what the base has there; of another kind of settings the base has nothing."""
    found: list[tuple[str, Any, Any]] = []
    for key, value in stated.items():
        before = base.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if value.get("kind", before.get("kind")) == before.get("kind"):
                inner = {name: one for name, one in value.items() if name != "kind"}
                found += leaves(inner, before, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value, before))
    return found


def test_the_listing_has_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    facts = info(FOLDER)
    assert facts["valid"] == len(RECIPES) and facts["not_valid"] == []
    shown = capsys.readouterr().out
    assert all(sum(name(path) in line.split() for line in shown.splitlines()) == 1 for path in RECIPES)


def values(recipe: Recipe, keys: str) -> dict[str, Any]:
    """Settings of a recipe by their keys, parted by blanks."""
    found = {}
    for key in keys.split():
        one: Any = recipe
        for part in key.split("."):
            one = getattr(one, part)
        found[key] = one
    return found


def test_the_papers_settings() -> None:
    """Those that its authors published: https://github.com/espnet/espnet/tree/master/egs2/wsj0_2mix_spatialized."""
    expected = {
        "sample_rate": 16000,
        "separation.kind": "tfgridnet",
        "separation.microphones": 8,
        "separation.reference_microphone": 3,
        "separation.fft_size": 512,
        "separation.hop": 256,
        "separation.blocks": 6,
        "separation.embedding": 48,
        "separation.lstm": 192,
        "separation.kernel": 4,
        "separation.stride": 2,
        "separation.heads": 4,
        "separation.qk_size": 512,
        "pretrain_sep.optimizer": "adam",
        "pretrain_sep.learning_rate": 1e-3,
        "pretrain_sep.weight_decay": 1e-5,
        "pretrain_sep.clip": 5,
        "pretrain_sep.batch_size": 12,
        "pretrain_sep.segment_seconds": 2.0,
        "pretrain_sep.loss": "l1",
        "pretrain_sep.plateau_factor": 0.5,
        "recognition.features.name": "microsoft/wavlm-large",
        "recognition.features.freeze": True,
        "recognition.features.layers": "all",
        "recognition.features.reduction": None,
        "recognition.projection": 80,
        "recognition.normalize": "utterance_mean",
        "recognition.encoder.blocks": 12,
        "recognition.encoder.size": 256,
        "recognition.encoder.heads": 4,
        "recognition.encoder.feed_forward": 2048,
        "recognition.encoder.kernel": 15,
        "recognition.encoder.subsampling": 2,
        "recognition.decoder.blocks": 6,
        "recognition.decoder.feed_forward": 2048,
        "recognition.tokens": "characters",
        "recognition.ctc_weight": 0.3,
        "recognition.label_smoothing": 0.1,
        "recognition.specaugment.feature_masks": 4,
        "recognition.specaugment.feature_mask_share": 100 / 1024,
        "recognition.specaugment.time_masks": 2,
        "recognition.specaugment.time_mask_width": 40,
        "recognition.specaugment.time_warp": 5,
        "pretrain_asr.learning_rate": 1e-3,
        "pretrain_asr.warmup_steps": 20000,
        "joint_finetune.optimizer": "sgd",
        "joint_finetune.learning_rate": 1e-3,
        "joint_finetune.momentum": 0.9,
        "joint_finetune.batch_size": 2,
        "joint_finetune.accumulation": 4,
        "joint_finetune.clip": 5,
        "joint_finetune.order": "ctc",
        "joint_finetune.separation_weight": 0,
        "decoding.beam": 10,
        "decoding.ctc_weight": 0.3,
    }
    recipe = load_recipe(PAPER)
    assert values(recipe, " ".join(expected)) == expected
    assert recipe.pretrain_sep.max_steps == 25 * recipe.pretrain_sep.validate_every
    assert recipe.pretrain_asr.max_steps == 100 * recipe.pretrain_asr.validate_every
    joint = recipe.joint_finetune
    assert joint.max_steps * joint.accumulation == 11 * 20000 and joint.max_steps == 11 * joint.validate_every


def test_rows_differ_in_what_they_are_named_after() -> None:
    for folder, row in product(("wsj0_2mix_spatialized", "whamr", "librispeech_2mix"), ROWS):
        for room in ("", "_anechoic"):
            recipe = load_recipe(FOLDER / folder / f"{row}{room}.yaml")
            assert (
                row
                == f"{recipe.separation.kind}_{'wavlm' if recipe.recognition.features.kind == 'ssl' else 'filterbank'}"
            )
            if recipe.separation.kind == "mask_mvdr":
                sizes = "layers lstm projection hop input mask"
                mvdr = values(recipe, " ".join(f"separation.{key}" for key in sizes.split()))
                assert list(mvdr.values()) == [3, 512, 512, 128, "magnitude", "sigmoid"]
            dry = recipe.simulation.room.t60 is None if recipe.dataset is None else _room(recipe) == "anechoic"
            assert dry == bool(room)


def _room(recipe: Recipe) -> str:
    assert recipe.dataset is not None
    room = recipe.dataset.room  # type: ignore[union-attr]
    return room["test"] if isinstance(room, dict) else room
