"""`sepasr simulate` where the recipe names a published set: its manifests, and a link to where its audio lies."""

import os
from pathlib import Path
from typing import Any

from sepasr_cli.datasets import DatasetConfig, plans, read_dataset
from sepasr_cli.datasets.making import make
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.manifest import DATASET, SPLITS, write_manifest
from sepasr_cli.progress import say
from sepasr_cli.recipe import Recipe
from sepasr_cli.rundir import RunDir, is_main_process


def take_dataset(
    run: RunDir,
    recipe: Recipe,
    config: DatasetConfig,
    workers: int,
    shard: tuple[int, int],
    skip_bad: bool,
    restart: bool,
) -> None:
    """Write the manifests of every split that the set has. Audio stays where it is; `make_from` makes it there first.

    Raises:
        SepasrError: for anything wrong in the set, or a folder that cannot be linked.
    """
    splits = [split for split in SPLITS if config.mixtures.get(split) != 0]
    made = [
        make(plan, config.mixtures.get(split), workers, shard, skip_bad)
        for split in splits
        for plan in plans(config, split, recipe.sample_rate, recipe.seed, recipe.simulation)
    ]
    if not all(made):
        say(f"part {shard[0]} of {shard[1]} is done; the manifests follow when all parts are")
        return
    read = {split: read_dataset(config, split, recipe.sample_rate, skip_bad) for split in splits}
    mixtures = {split: found for split, found in read.items() if found}
    settings: dict[str, Any] = {
        "sample_rate": recipe.sample_rate,
        "dataset": config.model_dump(mode="json", exclude=set(config.places())),
    }
    inputs = {
        f"mixtures of {split}": fingerprint([one.model_dump(mode="json") for one in found])
        for split, found in mixtures.items()
    }
    with run.stage("data", settings=settings, inputs=inputs, restart=restart) as stage:
        run.write_recipe(recipe)
        if is_main_process():
            _link(run.data / DATASET, config.path)
        if stage.finished and all(run.manifest(split).is_file() for split in mixtures):
            return
        for split, found in mixtures.items():
            write_manifest(run.manifest(split), found)
            stage.results[split] = len(found)
        stage.complete = True
    counts = ", ".join(f"{len(found)} of {split}" for split, found in mixtures.items())
    say(f"{run.data}: {counts}; the audio stays in {config.path}")


def _link(link: Path, target: Path) -> None:
    """Make `link` lead to `target`; a link that leads elsewhere is replaced at once."""
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    if link.exists() and not link.is_symlink():
        raise SepasrError(f"{link}: is in the way of the link to {target}; move it elsewhere")
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        beside.symlink_to(target, target_is_directory=True)
        beside.replace(link)
    except OSError as error:
        raise SepasrError(
            f"{link}: cannot be linked to {target} ({error.strerror}); use a file system that has symbolic links"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
