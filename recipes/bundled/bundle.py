"""Make the model that comes with the package of a run: `python recipes/bundled/bundle.py runs/bundled_separated`.

The run's separator and recogniser become one joint model, with its language model beside it and a model card. Matrices
are stored in half precision, in which they take half the room, vectors as they are: loading brings all back to single
precision. All is written into a new folder beside the old one, which it then replaces.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import torch
from safetensors.torch import load_file, save_file

from sepasr_cli import bundled
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained import (
    DECODING,
    LANGUAGE_MODEL,
    System,
    choose_system,
    load_language_model,
    load_system,
)
from sepasr_cli.recipe import load_recipe
from sepasr_cli.rundir import RunDir
from sepasr_cli.saved_model import CONFIG, WEIGHTS
from sepasr_cli.separation import ByMicrophones, Separator
from sepasr_cli.separation.microphones import described

CARD = Path(__file__).with_name("model_card.md.jinja")
#: Bytes that all of it may take.
MOST = 25_000_000


def bundle(
    run: Path | str,
    out: Path | str = bundled.FOLDER,
    system: System | None = None,
    version: str = "1.0",
    trained_on: str = "two speakers, AN4's vocabulary (spelled names, numbers, dates, commands)",
    figures: Path | None = None,
    overrides: Sequence[str] = (),
    license_file: Path | None = None,
) -> Path:
    """Write the folder of the bundled model.

    Args:
        run: the run that trained it.
        out: the folder; what is there is replaced.
        system: the "joint" model, or the "cascade" of separator and recogniser; by default the joint one if trained.
        version: of the weights.
        trained_on: what people are told whenever it is used.
        figures: Markdown for the card's section of results, or `summary.json` of scores.
        overrides: settings of the run's recipe to change, of which those of `decoding` go with the model.
        license_file: the notice that comes with AN4; by default that of the recipe's corpus.

    Raises:
        SepasrError: where the run lacks a model, or all takes too much room; nothing is replaced then.
    """
    directory = RunDir.open(run)
    recipe = load_recipe(directory.recipe_path, overrides)
    chosen = choose_system(directory, system)
    model = load_system(str(directory.path), system=chosen)
    model.provenance = {
        bundled.VERSION: version,
        bundled.TRAINED_ON: trained_on,
        "system": chosen,
        "recipe": recipe.fingerprint(),
        DECODING: recipe.decoding.model_dump(mode="json"),
    }
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as temporary:
        made = Path(temporary, out.name)
        model.save_pretrained(made)
        halve(made / WEIGHTS)
        if (directory.path / LANGUAGE_MODEL / WEIGHTS).is_file():
            load_language_model(str(directory.path)).save_pretrained(made / LANGUAGE_MODEL)
            halve(made / LANGUAGE_MODEL / WEIGHTS)
        notice = license_file or _an4_notice(recipe)
        for wanted in (notice, figures):
            if wanted is not None and not wanted.is_file():
                raise SepasrError(f"{wanted}: no such file, which the model card holds; check the path")
        (made / "README.md").write_text(_card(made, model, chosen, recipe, figures, notice), encoding="utf-8")
        sizes = {path.relative_to(made).as_posix(): path.stat().st_size for path in sorted(made.rglob("*.*"))}
        total = sum(sizes.values())
        print(*(f"{size / 1e6:8.2f} MB  {name}" for name, size in sizes.items()), sep="\n")
        print(f"{total / 1e6:8.2f} MB  in all, at most {MOST / 1e6:g}")
        if total > MOST:
            raise SepasrError(f"{out}: {total / 1e6:.1f} MB, at most {MOST / 1e6:g} are allowed; train smaller models")
        load_system(str(made))
        _replace(out, made, Path(temporary, "old"))
    return out


def halve(path: Path) -> None:
    """Store the matrices of a file of weights in half precision, where none of their values is beyond it."""
    state = load_file(path)
    halves = {name: value.half() for name, value in state.items() if value.is_floating_point() and value.dim() > 1}
    with atomic(path) as temporary:
        save_file(state | {name: value for name, value in halves.items() if torch.isfinite(value).all()}, temporary)


def _an4_notice(recipe: Any) -> Path:
    for corpus in recipe.corpora.train:
        if corpus.kind == "an4":
            return Path(corpus.path, "LICENSE")
    raise SepasrError("the recipe trains on no AN4, whose notice the card holds; name another with --license-file")


def _card(made: Path, model: JointModel, system: str, recipe: Any, figures: Path | None, notice: Path) -> str:
    """The model card: what it is, what it was trained on and how, what it reaches, what it is not fit for."""
    record = json.loads((made / CONFIG).read_text(encoding="utf-8"))
    count = {
        "separation": sum(value.numel() for value in model.separator.parameters()),
        "recognition": sum(value.numel() for value in model.recognizer.parameters()),
    }
    results = None
    if figures is not None:
        text = figures.read_text(encoding="utf-8")
        results = _table(json.loads(text)) if figures.suffix == ".json" else text.strip()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    environment.filters["range"] = _range
    return environment.from_string(CARD.read_text(encoding="utf-8")).render(
        version=record[bundled.VERSION],
        trained_on=record[bundled.TRAINED_ON],
        system=system,
        separator=model.config.separator,
        networks=_networks(model.separator),
        takes=described(model.separator.takes),
        recipe=recipe,
        millions={name: f"{number / 1e6:.2f}" for name, number in count.items()},
        language_model=(made / LANGUAGE_MODEL / CONFIG).is_file(),
        figures=results,
        notice=notice.read_text(encoding="utf-8").strip(),
    )


def _networks(separator: Separator) -> str:
    if isinstance(separator, ByMicrophones):
        return f"{separator.several.kind}, and a {separator.one.kind} of its own for one microphone"
    return separator.kind


def _range(bounds: Any) -> str:
    return " to ".join(f"{value:g}" for value in bounds) if isinstance(bounds, tuple | list) else str(bounds)


def _table(summary: dict[str, Any]) -> str:
    rows = [f"| {name} | {value:.4g} |" for name, value in summary.items() if isinstance(value, (int, float))]
    return "\n".join(["| figure | value |", "|---|---|", *rows])


def _replace(out: Path, made: Path, old: Path) -> None:
    """Put a folder in another's place; that is put back where it fails."""
    there = out.exists()
    if there:
        out.rename(old)
    try:
        made.rename(out)
    except OSError:
        if there:
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--out", type=Path, default=bundled.FOLDER, help="folder of the model (default: the package's)")
    parser.add_argument("--system", choices=("joint", "cascade"), help="default: joint where it was trained")
    parser.add_argument("--version", default="1.0", help="of the weights")
    parser.add_argument("--figures", type=Path, help="Markdown, or a summary.json of scores, for the model card")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="decoding.KEY=VALUE")
    parser.add_argument("--license-file", type=Path, help="AN4's notice (default: that in the recipe's AN4)")
    options = vars(parser.parse_args())
    try:
        bundle(options.pop("run"), **options)
    except SepasrError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
