"""`sepasr report`: what runs hold as one page to look at, listen to and attach."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.files import write_text
from sepasr_cli.progress import progress, say, warn
from sepasr_cli.reporting.collect import Scored, collect
from sepasr_cli.reporting.details import Card, Detail, Item, choose, detail, items, seconds_for
from sepasr_cli.reporting.diagnoses import (
    Diagnosis,
    artefacts,
    clean_speech,
    clipped,
    crossed_words,
    leaked_words,
    mismatch,
    unseen_conditions,
)
from sepasr_cli.reporting.figures import score_charts, training_charts
from sepasr_cli.reporting.page import is_ours, render
from sepasr_cli.reporting.plots import require_matplotlib, write_plots


def report(
    runs: Sequence[Path | str],
    split: str = "test",
    system: Sequence[str] = (),
    out: Path | str | None = None,
    recordings: int = 20,
    plots: Path | str | None = None,
) -> Path:
    """Write one self-contained HTML page about a split that was scored, a column for each run and system.

    Args:
        runs: run directories, side by side.
        split: the split.
        system: "joint" or "cascade", or both; by default everything that was scored.
        out: the file; by default `report-<split>.html` in the first run. An earlier report is replaced.
        recordings: how many to show in full, with their sound.
        plots: a folder for the charts as SVG and PNG files.

    Returns:
        The file written.

    Raises:
        SepasrError: where a run was not scored, or its scores cannot be read.
    """
    if not runs:
        raise ArgumentError("no run given; name one run directory or more")
    if plots is not None:
        require_matplotlib()
    page = Path(runs[0]) / f"report-{split}.html" if out is None else Path(out)
    if page.is_dir() or (page.is_file() and not is_ours(page)):
        raise SepasrError(f"--out {page}: is there already and no report; give another file")
    columns = collect(runs, split, system)
    every = items(columns)
    answers = diagnose(columns, every)
    chosen = choose(every, recordings, {name for _, one in answers if one.found for name in one.recordings})
    seconds = seconds_for(chosen, columns)
    details = []
    with progress("report", len(chosen)) as advance:
        for item, tag in chosen:
            details.append(detail(item, tag, columns, seconds))
            advance()
    for name, line in (
        (one.item.name, card.clip.trouble) for one in details for card in _cards(one) if card.clip and card.clip.trouble
    ):
        warn(f"{name}: {line}")
    training, spread = training_charts(columns), score_charts(columns)
    names = ", ".join(dict.fromkeys(column.run.path.resolve().name for column in columns))
    answers += [(column.name, clipped(_levels(slot, details))) for slot, column in enumerate(columns)]
    text = render(names, split, columns, every, details, answers, training, spread, seconds)
    write_text(page, text)
    say(f"{page}: {len(every)} recordings, {len(details)} of them with sound, {len(text.encode()) / 1e6:.1f} MB")
    if plots is not None:
        written = write_plots([*training, *spread], Path(plots))
        say(f"{plots}: {len(written)} files")
    return page


def diagnose(columns: Sequence[Scored], every: Sequence[Item]) -> list[tuple[str, Diagnosis]]:
    """Ask every column what its scores and manifests can tell; each answer stands beside the column's name.

    Recordings are named as the items are.
    """
    found: list[tuple[str, Diagnosis]] = []
    for slot, column in enumerate(columns):
        records = list(column.recordings.values())
        scored = [column.mixtures[name] for name in column.recordings]
        recogniser = column.training.get("recognizer")
        clean = recogniser.dev.get("greedy_accuracy") if recogniser else None
        asked = [
            mismatch(records, clean),
            crossed_words(records, column.text),
            leaked_words(records, column.text),
            unseen_conditions(scored, column.seen, column.seen_rooms, records),
        ]
        if column.system == "joint" and (joint := column.training.get("joint")):
            curve = joint.curve("dev", "clean_accuracy")
            before = curve[0][1] if curve and curve[0][0] == 0 else None
            asked.append(clean_speech(before, joint.dev.get("clean_accuracy")))
        for other in columns:
            if other.run.path == column.run.path and (other.system, column.system) == ("cascade", "joint"):
                asked.append(artefacts(other.summary, column.summary, (other.name, column.name)))
        names = {item.records[slot]["id"]: item.name for item in every if slot in item.records}
        found += [
            (column.name, replace(one, recordings=tuple(names[each] for each in one.recordings))) for one in asked
        ]
    return found


def _cards(one: Detail) -> list[Card]:
    return [card for group in (one.given, *one.made.values()) for card in group]


def _levels(slot: int, details: Sequence[Detail]) -> Mapping[str, float]:
    """How much of each signal that was read is at full scale: mixtures, and what the column made of them."""
    return {
        f"{one.item.name} {card.name}": card.clip.full_scale
        for one in details
        if slot in one.item.records
        for card in (one.given[0], *one.made[slot])
        if card.clip and card.clip.sound
    }
