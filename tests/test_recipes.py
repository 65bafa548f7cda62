"""Every recipe that ships is valid and complete."""

from pathlib import Path

import pytest

from sepasr_cli.recipe import load_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


def name(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def test_there_are_recipes() -> None:
    assert {"debug.yaml", "an4/tfgridnet.yaml"} <= set(map(name, RECIPES))


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_loads_and_reads_back(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, [f"root={tmp_path / 'data'}"])
    for split in ("train", "dev", "test"):
        corpora = getattr(recipe.corpora, split)
        assert corpora, f"no corpus for {split}"
        assert all(corpus.path.is_relative_to(tmp_path) for corpus in corpora), "paths are not relative to root"
        assert recipe.simulation.mixtures[split] > 0
    if recipe.pretrain_sep.dynamic_mixing or recipe.joint_finetune.dynamic_mixing:
        assert recipe.simulation.response_bank > 0
    resolved = tmp_path / "recipe.yaml"
    resolved.write_text(recipe.to_yaml())
    assert load_recipe(resolved) == recipe
    load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_says_at_the_top_what_it_is_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
