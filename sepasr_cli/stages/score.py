"""`sepasr score`: separated signals and transcripts against references, of a run's split or of any files."""

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from sepasr_cli.errors import ArgumentError
from sepasr_cli.files import fingerprint, write_json, write_text
from sepasr_cli.inference.inputs import Outcome, refuse_to_replace, split_folder
from sepasr_cli.manifest import Reference
from sepasr_cli.parallel import run_tasks
from sepasr_cli.progress import progress, say, warn
from sepasr_cli.rundir import RunDir
from sepasr_cli.scoring import tables
from sepasr_cli.scoring.checks import check_transcripts
from sepasr_cli.scoring.material import Material, find_material
from sepasr_cli.scoring.normalisation import Normalisation, normalise
from sepasr_cli.scoring.recordings import SignalFiles, SignalsScored, SpokenTexts, score_files
from sepasr_cli.scoring.report import NOT_ASKED_FOR, RECORDINGS, SUMMARY, RecordingScore, summarise
from sepasr_cli.scoring.run_material import find_run_material
from sepasr_cli.scoring.signals import SIGNAL_METRICS
from sepasr_cli.scoring.tables import TableFormat
from sepasr_cli.scoring.words import COLLAR, WORD_METRICS, SpokenPair, WordScore, score_transcripts

#: Fewer recordings for each process are done sooner than it starts.
WORTH_A_PROCESS = 4


def score(
    run: Path | str | None = None,
    split: str = "test",
    system: str | None = None,
    reference: Sequence[str | Path] = (),
    estimate: Sequence[str | Path] = (),
    mixture: Sequence[str | Path] = (),
    text: Normalisation | None = None,
    collar: float | None = None,
    metrics: Sequence[str] | None = None,
    out: Path | str | None = None,
    table: TableFormat | None = None,
    workers: int | None = None,
    examples: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Score a run's split, or any estimates against any references; prints a table.

    Of a run, what `separate` and `transcribe` made is scored, and written below RUN/scores. Otherwise `reference` and
    `estimate` name audio (files, folders, patterns, manifests), transcripts in any format, or both.

    Args:
        run: the run directory.
        split: the run's split.
        system: "joint" or "cascade", where the split was separated and transcribed with that flag.
        reference: what is true.
        estimate: what is to be scored.
        mixture: audio of the unprocessed mixtures, for the improvement over them.
        text: the normalisation of both texts; by default the recipe's, "basic" without a run.
        collar: seconds by which a word may be off in tcpWER; by default the recipe's, 5 without a run.
        metrics: names of those to compute; by default all that apply.
        out: a folder for `summary.json` and `recordings.jsonl`; a run's go into the run.
        table: the form of the printed table, for files.
        workers: processes that score signals; by default one a processor, fewer for few recordings.
        examples: how many recordings' transcripts to print beside their references.
        overwrite: replace the files in `out`.

    Returns:
        The content of `summary.json`.

    Raises:
        SepasrError: where there is nothing to score, or recordings could not be scored; the others are then done.
    """
    wanted = _check(run, reference, estimate, mixture, out, metrics)
    kind: Reference = "early"
    if run is not None:
        directory = RunDir.open(run)
        settings = directory.recipe().scoring
        kind, text, collar = settings.reference, text or settings.text, settings.collar if collar is None else collar
        material = find_run_material(directory, split, system, kind)
        folder: Path | None = directory.path / split_folder("scores", split, system)
    else:
        text, collar = text or "basic", COLLAR if collar is None else collar
        folder = Path(out) if out is not None else None
        if folder is not None and not overwrite:
            refuse_to_replace([folder / SUMMARY, folder / RECORDINGS])
        material = find_material(reference, estimate, mixture, kind)
    for remark in (*material.remarks, *check_transcripts(material.words)):
        warn(remark)
    signals, failures = _score_signals(material.signals, wanted, workers)
    failures |= material.failures
    words = {item.id: _score_words(item, text, collar, wanted) for item in material.words}
    names = dict.fromkeys((*(item.id for item in material.signals), *material.failures, *words))
    speakers = {item.id: item.speakers for item in material.signals}
    recordings = [
        _joined(name, speakers.get(name, ()), signals.get(name), words.get(name))
        for name in names
        if name in signals or name in words
    ]
    summary = summarise(recordings, kind, text, collar, _reasons(material, metrics))
    if folder is not None:
        lines = (json.dumps(recording.record(), ensure_ascii=False) + "\n" for recording in recordings)
        write_text(folder / RECORDINGS, "".join(lines))
        write_json(folder / SUMMARY, summary)
    if recordings:
        references = f", '{kind}' references" if run is not None else ""
        title = f"{folder or 'scores'}, {len(recordings)} recording{'s' * (len(recordings) != 1)}{references}"
        _show(summary, recordings, title, table, examples)
    Outcome(len(names), failures=failures).check()
    return summary


def _check(
    run: Path | str | None,
    reference: Sequence[str | Path],
    estimate: Sequence[str | Path],
    mixture: Sequence[str | Path],
    out: Path | str | None,
    metrics: Sequence[str] | None,
) -> tuple[str, ...]:
    """The metrics to compute.

    Raises:
        ArgumentError: where arguments do not go together, or a metric is unknown.
    """
    if run is not None and (reference or estimate or mixture or out is not None):
        raise ArgumentError(
            "a run has its own references, and its scores go into it; leave RUN out to score files (--reference, "
            "--estimate, --mixture, --out)"
        )
    if run is None and not (reference and estimate):
        given = "no --estimate" if reference else "no --reference" if estimate else "neither RUN nor --reference"
        raise ArgumentError(f"found {given}; give a run directory, or --reference and --estimate")
    known = (*SIGNAL_METRICS, *WORD_METRICS)
    for name in metrics or ():
        if name not in known:
            raise ArgumentError(f"metric '{name}' is unknown; expected some of {', '.join(known)}")
    return tuple(metrics or known)


def _reasons(material: Material, metrics: Sequence[str] | None) -> dict[str, str]:
    """Why metrics cannot have a value at all."""
    found: dict[str, str] = {}
    for kind, names in (("signals", SIGNAL_METRICS), ("words", WORD_METRICS)):
        if kind in material.missing:
            found |= dict.fromkeys(names, material.missing[kind])
    if metrics is not None:
        found |= {name: NOT_ASKED_FOR for name in (*SIGNAL_METRICS, *WORD_METRICS) if name not in metrics}
    return found


def _score_signals(
    items: Sequence[SignalFiles], metrics: Sequence[str], workers: int | None
) -> tuple[dict[str, SignalsScored], dict[str, str]]:
    """Scores of each recording, and why others have none."""
    scores: dict[str, SignalsScored] = {}
    failures: dict[str, str] = {}
    if not set(metrics) & set(SIGNAL_METRICS):
        return scores, failures
    if workers is None:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = max(1, min(processors, len(items) // WORTH_A_PROCESS))
    with progress("score", len(items)) as advance:
        for name, result in run_tasks(partial(score_files, metrics=tuple(metrics)), items, workers):
            if isinstance(result, str):
                failures[name] = result
            else:
                scores[name] = result
            advance()
    return scores, {item.id: failures[item.id] for item in items if item.id in failures}


def _score_words(
    item: SpokenTexts, rule: Normalisation, collar: float, metrics: Sequence[str]
) -> tuple[WordScore, tuple[SpokenPair, ...], str]:
    """The errors, the texts beside each other, and a fingerprint of the reference."""
    score, pairs = score_transcripts(item.reference, item.hypothesis, rule, collar, metrics)
    said = [(one.speaker, one.start_time, one.end_time, normalise(one.words, rule)) for one in item.reference]
    return score, pairs, fingerprint(said)


def _joined(
    name: str,
    speakers: tuple[str, ...],
    signals: SignalsScored | None,
    words: tuple[WordScore, tuple[SpokenPair, ...], str] | None,
) -> RecordingScore:
    references = {}
    if signals is not None:
        references["signals"] = signals.fingerprint
    score, pairs, said = words or (None, (), "")
    if words is not None:
        references["words"] = said
    return RecordingScore(
        name,
        speakers,
        signals.scores if signals else (),
        signals.names if signals else (),
        score,
        pairs,
        references,
        signals.notes if signals else (),
    )


def _show(
    summary: dict[str, Any],
    recordings: Sequence[RecordingScore],
    title: str,
    table: TableFormat | None,
    examples: int,
) -> None:
    if table is not None:
        rows = tables.summary_values(summary) if table == "csv" else tables.summary_table(summary)
        print(tables.rendered(rows, table))
    else:
        tables.print_table(tables.summary_table(summary), title)
    console = Console(highlight=False, stderr=table is not None)
    for line in tables.remarks(summary):
        console.print(line, markup=False, soft_wrap=True)
    shown = [recording for recording in recordings if recording.transcripts][:examples]
    for recording in shown:
        console.print(f"\n{tables.example(recording)}", markup=False, soft_wrap=True)
    if examples > 0 and not shown:
        say("no transcripts to show")
