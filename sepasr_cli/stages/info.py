"""`sepasr info`: what a run, model, recipe, manifest, transcript or audio file is."""

import json as json_text
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sepasr_cli import audio, bundled
from sepasr_cli.errors import SepasrError
from sepasr_cli.rundir import RunDir
from sepasr_cli.transcripts import FORMATS

#: Of a long list, so many are shown.
SHOWN = 3


def info(thing: Path | str, json: bool = False) -> dict[str, Any]:
    """Say what a thing is, as tables on standard output.

    A run: its stages, what its recipe changes, trainings, models, data and scores. A saved model: sizes, settings and
    origin. A manifest or folder of audio: hours, speakers, overlap, rates, channels. A transcript: who says how much.
    An audio file: format, length, levels. A recipe: data and models; a folder of recipes: a line for each.

    Args:
        thing: a run directory, saved model folder, recipe, manifest, transcript, audio file, or folder of recipes or
            audio; or "bundled", the model that comes with the package.
        json: print JSON instead, with everything that is known.

    Returns:
        The facts, plain data.

    Raises:
        SepasrError: where it is none of these, or broken; after a list of recipes, where some are not valid.
    """
    path = Path(bundled.resolved(str(thing)))
    facts = {"name": str(thing), **_describe(path)}
    if json:
        print(json_text.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(facts)))
    if wrong := facts.get("not_valid"):
        raise SepasrError(f"{len(wrong)} of {len(facts['recipes'])} recipes are not valid: {', '.join(wrong)}")
    return facts


def _describe(path: Path) -> dict[str, Any]:
    # Only what is needed is imported: PyTorch takes seconds.
    if path.is_dir():
        if RunDir.is_one(path):
            from sepasr_cli.inspection.run import describe_run

            return describe_run(RunDir(path))
        if (path / "config.json").is_file():
            from sepasr_cli.inspection.run import describe_model

            return describe_model(path)
        from sepasr_cli.inspection.recipes import describe_recipes, find_recipes
        from sepasr_cli.inspection.sound import describe_folder

        recipes = find_recipes(path)
        if recipes and not audio.find(path):
            return describe_recipes(path, recipes)
        return describe_folder(path)
    if not path.exists():
        raise SepasrError(f"{path}: no such file or folder; check the path")
    if path.suffix.lower() in (".yaml", ".yml"):
        from sepasr_cli.inspection.recipes import describe_recipe

        return describe_recipe(path)
    from sepasr_cli.inspection.sound import describe_audio, describe_manifest, describe_transcript

    if path.suffix.lower() == ".jsonl":
        return describe_manifest(path)
    if path.suffix.lower().removeprefix(".") in FORMATS:
        return describe_transcript(path)
    return describe_audio(path)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Facts as text: values one a line, groups of them under a heading, lists of records as tables."""
    plain = {key: value for key, value in facts.items() if not isinstance(value, (dict, list))}
    width = max(map(len, plain))
    for key, value in plain.items():
        yield f"{_label(key):{width}}  {_shown(value)}"
    for key, value in facts.items():
        if not isinstance(value, (dict, list)) or not value:
            continue
        yield f"\n{_label(key)}"
        if isinstance(value, dict):
            inner = max(map(len, value))
            yield from (f"  {name:{inner}}  {_shown(one)}" for name, one in value.items())
        elif isinstance(value[0], dict):
            yield from _table(value)
        else:
            yield from (f"  {one}" for one in value)


def _table(records: list[dict[str, Any]]) -> Iterator[str]:
    columns = list(dict.fromkeys(key for record in records for key in record))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        numbers = all(isinstance(record.get(column), (int, float, type(None))) for record in records)
        table.add_column(_label(column), justify="right" if numbers else "left", no_wrap=True)
    for record in records:
        table.add_row(*(_shown(record.get(column)) for column in columns))
    # A line a record, however long.
    console = Console(width=1000, markup=False, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(table)
    yield from (f"  {line.rstrip()}" for line in captured.get().rstrip("\n").split("\n"))


def _label(key: str) -> str:
    return key.replace("_", " ")


def _shown(value: Any) -> str:
    """A value in a line.

    >>> _shown(1234567), _shown(["A", "AND", "APRIL", "AREA", "AUGUST", "B"]), _shown([1, 2])
    ('1 234 567', 'A, AND, APRIL, ... (6)', '1, 2')
    """
    if isinstance(value, list):
        if len(value) > SHOWN + 1:
            return f"{_shown(value[:SHOWN])}, ... ({len(value)})"
        return ", ".join(map(_shown, value))
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ") if value >= 100_000 else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
