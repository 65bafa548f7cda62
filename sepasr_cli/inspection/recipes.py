"""What recipes say: one of them, or a line for each of a folder."""

from pathlib import Path
from typing import Any

from sepasr_cli.errors import SepasrError
from sepasr_cli.recipe import Recipe, load_recipe
from sepasr_cli.rundir import RunDir


def find_recipes(folder: Path) -> list[Path]:
    """The recipes of a folder, those of its runs left out."""
    return sorted(path for path in folder.rglob("*.yaml") if not RunDir.is_one(path.parent))


def describe_recipe(path: Path) -> dict[str, Any]:
    """What a recipe is for, its data and its models.

    Raises:
        SepasrError: where it is not valid.
    """
    return {"kind": "recipe", **_summary(load_recipe(path)), "what_for": _what_for(path)}


def describe_recipes(folder: Path, recipes: list[Path]) -> dict[str, Any]:
    """A line for each recipe of a folder, in the order of their names; what is wrong with one stands in its line."""
    rows = []
    wrong: list[str] = []
    for path in recipes:
        row: dict[str, Any] = {"recipe": path.relative_to(folder).as_posix()}
        try:
            row |= {"valid": True, **_summary(load_recipe(path)), "what_for": _what_for(path)}
        except SepasrError as error:
            row |= {"valid": False, "what_for": str(error)}
            wrong.append(row["recipe"])
        rows.append(row)
    return {"kind": "recipes", "valid": len(rows) - len(wrong), "not_valid": wrong, "recipes": rows}


def _summary(recipe: Recipe) -> dict[str, Any]:
    corpora = dict.fromkeys(corpus.kind for split in recipe.corpora for corpus in split[1])
    features = recipe.recognition.features
    return {
        "data": recipe.dataset.kind if recipe.dataset else ", ".join(corpora) or None,
        "sample_rate": recipe.sample_rate,
        "microphones": recipe.separation.microphones,
        "separator": recipe.separation.kind,
        "features": features.name if features.kind == "ssl" else features.kind,
    }


def _what_for(path: Path) -> str | None:
    """The first line, where it is a comment."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else None
