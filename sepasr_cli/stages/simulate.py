"""`sepasr simulate`: corpus -> mixtures with their references, to the same bytes by any number of processes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint, write_json
from sepasr_cli.manifest import (
    SPLITS,
    BankRoom,
    Mixture,
    Split,
    Utterance,
    read_manifest,
    write_manifest,
)
from sepasr_cli.parallel import run_tasks
from sepasr_cli.progress import progress, say, warn
from sepasr_cli.randomness import generator
from sepasr_cli.rundir import RunDir
from sepasr_cli.settings import validate
from sepasr_cli.simulation.config import FolderNoise, SimulationConfig
from sepasr_cli.simulation.rendering import render
from sepasr_cli.simulation.responses import responses, saved_for
from sepasr_cli.simulation.sampling import check_disjoint, draw, draw_room, noise_files

#: Changes when rendering makes other audio of the same line, so that examples of an older version are made again.
_VERSION = 1


def simulate(
    run: Path | str,
    *,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
    skip_bad: bool = False,
    restart: bool = False,
) -> None:
    """Make the mixtures of every split of a run directory, with their references and manifests, below RUN/data.

    Where the recipe has a `dataset`, its files stay where they are and the manifests alone are made.

    Args:
        run: the run directory; made where it is not there.
        recipe: recipe file for a new run; else the run's own recipe is used.
        overrides: `key.key=value` changes to the recipe.
        workers: processes at work.
        shard: (i, n): make only the i-th of n parts, from 1. Once all parts are there, the manifests are joined.
        skip_bad: leave out and count utterances and mixtures that cannot be used.
        restart: put data made with other settings aside and begin again.

    Raises:
        SepasrError: for anything wrong in the recipe, the corpora, the shard or the disk.
    """
    from sepasr_cli.corpora import read_corpora

    part, parts = shard
    if not 1 <= part <= parts:
        raise SepasrError(f"shard {part}/{parts}: expected i/n with i from 1 to n")
    if workers < 1:
        raise SepasrError(f"{workers} workers; at least 1 is needed")
    directory, settings = RunDir.begin(run, recipe, overrides)
    if settings.dataset is not None:
        from sepasr_cli.stages.dataset import take_dataset

        take_dataset(directory, settings, settings.dataset, workers, shard, skip_bad, restart)
        return
    config = settings.simulation
    utterances: dict[Split, list[Utterance]] = {}
    for split in SPLITS:
        corpora = getattr(settings.corpora, split)
        if corpora and config.mixtures[split]:
            utterances[split] = read_corpora(corpora, skip_bad, settings.sample_rate)
    if not utterances:
        raise SepasrError(
            f"{directory.path}: the recipe names no corpus for a split with mixtures; add corpora.train, dev or test"
        )
    check_disjoint(utterances)
    # Before anything is put aside or written: what cannot be drawn is found here.
    drawn = {
        split: draw(config, spoken, split, settings.seed, settings.sample_rate, noise_files(config.noise, split))
        for split, spoken in utterances.items()
    }
    made_from, inputs, goal = _record(config, utterances, settings.seed, settings.sample_rate)
    # Parts are made on several machines at once, so each has a record of its own.
    folder = "data" if parts == 1 else f"data/shards/{part}-of-{parts}"
    with directory.stage(folder, settings=made_from, inputs=inputs, goal=goal, restart=restart) as stage:
        directory.write_recipe(settings)
        manifests = [directory.manifest(split) for split in utterances]
        if stage.finished and all(path.is_file() for path in manifests):
            return
        for split, spoken in utterances.items():
            mixtures = _make_split(drawn[split], spoken, config, split, directory.data, workers, shard, skip_bad)
            stage.results[split] = len(mixtures)
        if config.response_bank and part == 1:
            make_response_bank(config, settings.seed, settings.sample_rate, directory.data, workers=workers)
        stage.complete = True
    if not all(path.is_file() for path in manifests):
        say(f"part {part} of {parts} is done; the manifests follow when all parts are")


def _record(
    config: SimulationConfig, utterances: Mapping[Split, Sequence[Utterance]], seed: int, sample_rate: int
) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Settings, inputs and goal of the stage. Where corpora and noise lie does not matter, what they hold does."""
    simulation = config.model_dump(mode="json", exclude={"mixtures": True, "response_bank": True, "noise": {"path"}})
    inputs = {f"speech of {split}": fingerprint([_identity(u) for u in found]) for split, found in utterances.items()}
    for split in utterances:
        if noises := noise_files(config.noise, split):
            inputs[f"noise of {split}"] = fingerprint([(noise.name, noise.duration) for noise in noises])
    # A longer list begins with the same mixtures, so numbers may grow.
    goal = {"mixtures": {split: config.mixtures[split] for split in utterances}, "response_bank": config.response_bank}
    return {"seed": seed, "sample_rate": sample_rate, "simulation": simulation}, inputs, goal


def _identity(utterance: Utterance) -> dict[str, Any]:
    return utterance.model_dump(mode="json", exclude={"audio"}) | {"file": utterance.audio.name}


@dataclass(frozen=True)
class _Example:
    """All that a worker needs to make one mixture."""

    mixture: Mixture
    utterances: dict[str, Utterance]
    folder: Path
    noise_folder: Path | None

    @property
    def place(self) -> Path:
        return (self.folder / self.mixture.audio).parent

    @property
    def fingerprint(self) -> str:
        spoken = [_identity(utterance) for utterance in self.utterances.values()]
        return fingerprint(_VERSION, self.mixture.model_dump(mode="json"), spoken)


def simulate_split(
    utterances: Sequence[Utterance],
    config: SimulationConfig,
    split: Split,
    seed: int,
    sample_rate: int,
    folder: Path,
    *,
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
    skip_bad: bool = False,
) -> list[Mixture]:
    """Make one split: `folder/<split>/<id>/*.flac` and, when all is there, `folder/<split>.jsonl`.

    Examples that are there, whole and of the same parameters, are kept.

    Returns:
        The mixtures of this shard, as in the manifest.

    Raises:
        SepasrError: where the split has too few speakers, an utterance or recording is unusable, or the disk is full.
    """
    drawn = draw(config, utterances, split, seed, sample_rate, noise_files(config.noise, split))
    return _make_split(drawn, utterances, config, split, folder, workers, shard, skip_bad)


def _make_split(
    drawn: Sequence[Mixture],
    utterances: Sequence[Utterance],
    config: SimulationConfig,
    split: Split,
    folder: Path,
    workers: int,
    shard: tuple[int, int],
    skip_bad: bool,
) -> list[Mixture]:
    part, parts = shard
    by_id = {utterance.id: utterance for utterance in utterances}
    noise_folder = config.noise.path if isinstance(config.noise, FolderNoise) else None
    examples = [
        _Example(
            mixture, {source.utterance: by_id[source.utterance] for source in mixture.sources}, folder, noise_folder
        )
        for mixture in drawn[part - 1 :: parts]
    ]
    found = {whole.id: whole for example in examples if (whole := _finished(example)) is not None}
    waiting = [example for example in examples if example.mixture.id not in found]
    failed: list[str] = []
    with progress(f"simulate {split}", total=len(examples), done=len(found)) as advance:
        for made in run_tasks(_make, waiting, workers):
            if isinstance(made, str):
                if not skip_bad:
                    raise SepasrError(made)
                failed.append(made)
            else:
                found[made.id] = made
            advance()
    if failed:
        warn(f"{split}: {len(failed)} mixtures left out; the first: {min(failed)}")
        if not found:
            raise SepasrError(f"{split}: no mixture could be made; the first problem: {min(failed)}")
    mixtures = [found[example.mixture.id] for example in examples if example.mixture.id in found]
    if parts == 1:
        write_manifest(folder / f"{split}.jsonl", mixtures)
    else:
        write_manifest(_part(folder, split, part, parts), mixtures)
        _join(folder, split, parts, drawn)
    return mixtures


def _part(folder: Path, split: Split, part: int, parts: int) -> Path:
    return folder / f"{split}.{part}-of-{parts}.jsonl"


def _join(folder: Path, split: Split, parts: int, drawn: Sequence[Mixture]) -> None:
    """Write the manifest of the whole split once every part is there; parts of other settings do not count."""
    found: dict[str, Mixture] = {}
    for part in range(1, parts + 1):
        path = _part(folder, split, part, parts)
        if not path.is_file():
            return
        found |= {mixture.id: mixture for mixture in read_manifest(path, Mixture)}
    whole = [found[mixture.id] for mixture in drawn if mixture.id in found]
    wanted = {mixture.id: mixture for mixture in drawn}
    if all(_as_drawn(mixture) == wanted[mixture.id] for mixture in whole):
        write_manifest(folder / f"{split}.jsonl", whole)


def _as_drawn(mixture: Mixture) -> Mixture:
    """A manifest line without what rendering has added."""
    return mixture.model_copy(
        update={"sources": tuple(source.model_copy(update={"gain": 1.0}) for source in mixture.sources)}
    )


def _finished(example: _Example) -> Mixture | None:
    """The line of an example that is there, whole, and made from the same parameters."""
    try:
        record = json.loads((example.place / "example.json").read_text(encoding="utf-8"))
        if record["fingerprint"] != example.fingerprint:
            return None
        mixture = validate(Mixture, record["mixture"], str(example.place))
        frames = round(mixture.duration * mixture.sample_rate)
        whole = all(audio.info(example.folder / name).frames == frames for name in mixture.files())
    except (OSError, ValueError, KeyError, TypeError, SepasrError):
        return None
    return mixture if whole else None


def _make(example: _Example) -> Mixture | str:
    """Make one example; its folder appears whole or not at all. Gives its line, or what is wrong with it."""
    line, place = example.mixture, example.place
    try:
        rendered = render(line, example.utterances, example.noise_folder)
    except SepasrError as error:
        return str(error)
    signals = {line.audio: rendered.mixture}
    if line.noise_audio:
        signals[line.noise_audio] = rendered.noise
    for s, source in enumerate(line.sources):
        for name, reference in (
            (source.direct, rendered.direct),
            (source.early, rendered.early),
            (source.image, rendered.image),
        ):
            if name:
                signals[name] = reference[s : s + 1]
    sources = tuple(
        source.model_copy(update={"gain": gain}) for source, gain in zip(line.sources, rendered.gains, strict=True)
    )
    made = line.model_copy(update={"sources": sources})
    hidden = place.with_name(f".{place.name}")
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        for name, samples in signals.items():
            audio.write(hidden / Path(name).name, samples, line.sample_rate)
        record = {"fingerprint": example.fingerprint, "mixture": made.model_dump(mode="json", exclude_defaults=True)}
        write_json(hidden / "example.json", record)
        if place.exists():
            shutil.rmtree(place)
        hidden.rename(place)
    except OSError as error:
        raise SepasrError(
            f"{place}: cannot be written ({error.strerror}); run the command again to continue"
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return made


def make_response_bank(
    config: SimulationConfig, seed: int, sample_rate: int, folder: Path, *, workers: int = 1
) -> None:
    """Draw `config.response_bank` rooms; write `folder/responses/*.npz` and `folder/responses.jsonl`.

    Raises:
        SepasrError: where no room can be drawn or the disk is full.
    """
    rooms = []
    for index in range(config.response_bank):
        name = f"room_{index:05d}"
        room = draw_room(config, generator(seed, "responses", name))
        rooms.append(BankRoom(id=name, responses=f"responses/{name}.npz", sample_rate=sample_rate, room=room))
    waiting = [(folder, room) for room in rooms if not saved_for(folder / room.responses, room.room, sample_rate)]
    with progress("room responses", total=len(rooms), done=len(rooms) - len(waiting)) as advance:
        for _ in run_tasks(_make_responses, waiting, workers):
            advance()
    write_manifest(folder / "responses.jsonl", rooms)


def _make_responses(task: tuple[Path, BankRoom]) -> None:
    folder, room = task
    responses(room.room, room.sample_rate).save(folder / room.responses, room.room)
