"""`sepasr score`: separated signals and transcripts of a run's split against their references."""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sepasr_cli import audio, transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside, write_json, write_text
from sepasr_cli.inference.inputs import SEPARATED, TRANSCRIPTS, Outcome, split_folder
from sepasr_cli.manifest import DATASET, Mixture, Reference, Separated, read_manifest
from sepasr_cli.progress import progress, say, warn
from sepasr_cli.rundir import RunDir
from sepasr_cli.scoring import report
from sepasr_cli.scoring.report import RecordingScore, SpokenPair
from sepasr_cli.scoring.signals import SignalScore, score_signals
from sepasr_cli.scoring.words import Normalisation, WordScore, score_words

#: The command that makes what is scored.
COMMANDS = {"separated": "separate", "transcripts": "transcribe"}


def score(
    run: Path | str, split: str = "test", system: str | None = None, workers: int = 1, examples: int = 0
) -> dict[str, Any]:
    """Score what `separate` and `transcribe` made of a split; prints a table, writes it below RUN/scores.

    Args:
        run: the run directory.
        split: the split.
        system: "joint" or "cascade", where the split was separated and transcribed with that flag.
        workers: processes that score signals.
        examples: how many recordings' transcripts to print beside their references.

    Returns:
        The content of `summary.json`.

    Raises:
        SepasrError: where there is nothing to score, or recordings could not be scored; the others are then done.
    """
    directory = RunDir.open(run)
    recipe = directory.recipe()
    manifest = directory.require_manifest(split)
    mixtures = read_manifest(manifest, Mixture)
    folders = {kind: directory.path / split_folder(kind, split, system) for kind in COMMANDS}
    listed = {"separated": folders["separated"] / SEPARATED, "transcripts": folders["transcripts"] / TRANSCRIPTS}
    there = _what_is_there(directory, split, system, listed)
    failures: dict[str, str] = {}
    signals: dict[str, _Signals] = {}
    words: dict[str, _Words] = {}
    if "separated" in there:
        signals, failures = _score_all_signals(
            mixtures, manifest.parent, listed["separated"], recipe.scoring.reference, workers
        )
    if "transcripts" in there:
        words = _score_all_words(mixtures, listed["transcripts"], recipe.scoring.text)
    recordings = [
        _joined(item, signals.get(item.id), words.get(item.id))
        for item in mixtures
        if item.id in signals or item.id in words
    ]
    summary = report.summarise(recordings, recipe.scoring.reference, recipe.scoring.text)
    folder = directory.path / split_folder("scores", split, system)
    lines = (json.dumps(recording.record(), ensure_ascii=False) + "\n" for recording in recordings)
    write_text(folder / "recordings.jsonl", "".join(lines))
    write_json(folder / "summary.json", summary)
    _show(
        summary,
        recordings,
        f"{folder}, {len(recordings)} recordings, '{recipe.scoring.reference}' references",
        examples,
    )
    Outcome(len(mixtures), failures=failures).check()
    return summary


#: One recording's scores a speaker with the files they are of; its word score with the texts.
_Signals = tuple[tuple[SignalScore, ...], tuple[str, ...]]
_Words = tuple[WordScore, tuple[SpokenPair, ...]]


def _what_is_there(directory: RunDir, split: str, system: str | None, listed: dict[str, Path]) -> list[str]:
    """Which of the two kinds can be scored; the other is named with the command that makes it.

    Raises:
        SepasrError: where neither can.
    """
    there = [kind for kind, path in listed.items() if path.is_file()]
    flag = f" --system {system}" if system else ""
    lines = []
    for kind in (kind for kind in listed if kind not in there):
        parent = listed[kind].parent.parent
        others = sorted(path.name for path in parent.glob(f"{split}*") if path.is_dir()) if parent.is_dir() else []
        found = f"found {', '.join(others)}" if others else "found none"
        lines.append(
            f"{listed[kind]} is missing ({found}); run `sepasr {COMMANDS[kind]} {directory.path} --split {split}{flag}`"
        )
    if not there:
        raise SepasrError("nothing to score: " + "; ".join(lines))
    for line in lines:
        warn(f"{line} to score {'signals' if 'separated.jsonl' in line else 'words'} too")
    for kind in there:
        if directory.status(split_folder(kind, split, system)) not in ("finished", None):
            warn(f"{listed[kind].parent}: `sepasr {COMMANDS[kind]}` has not finished; what there is, is scored")
    return there


def _score_all_signals(
    mixtures: Sequence[Mixture], data: Path, listed: Path, reference: Reference, workers: int
) -> tuple[dict[str, _Signals], dict[str, str]]:
    """Scores of the recordings that were separated, and why others have none."""
    separated = {item.id: item for item in read_manifest(listed, Separated)}
    pairs = [(item, separated[item.id]) for item in mixtures if item.id in separated]
    if missing := len(mixtures) - len(pairs):
        warn(f"{listed}: {missing} of {len(mixtures)} mixtures were not separated and have no signal scores")
    work = partial(_score_signals, data=data, folder=listed.parent, reference=reference)
    scores: dict[str, _Signals] = {}
    failures: dict[str, str] = {}
    with progress("score", len(pairs)) as advance:
        for (mixture, _), result in zip(pairs, _mapped(work, pairs, workers), strict=True):
            if isinstance(result, str):
                failures[mixture.id] = result
            else:
                scores[mixture.id] = result
            advance()
    return scores, failures


def _mapped(work: Callable[..., Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    if workers <= 1:
        yield from map(work, items)
        return
    # Forking would copy locks that PyTorch's threads hold.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, items)


def _score_signals(
    pair: tuple[Mixture, Separated], *, data: Path, folder: Path, reference: Reference
) -> _Signals | str:
    """One recording's scores, or the reason why there are none, as one line."""
    mixture, separated = pair
    try:
        names = [getattr(source, reference) for source in mixture.sources]
        if None in names:
            raise SepasrError(f"has no '{reference}' reference; add it to simulation.references")
        at = mixture.reference_microphone
        signals = _stack([inside(data, name, link=DATASET) for name in names], mixture.sample_rate, at)
        estimates = _stack([inside(folder, name) for name in separated.audio], mixture.sample_rate, 0)
        samples, _ = audio.read(inside(data, mixture.audio, link=DATASET))
        scores, order = score_signals(signals, estimates, samples[mixture.reference_microphone], mixture.sample_rate)
    except SepasrError as error:
        return f"{mixture.id}: {error}"
    return tuple(scores), tuple(separated.audio[index] for index in order)


def _stack(paths: Sequence[Path], sample_rate: int, microphone: int) -> audio.Audio:
    """One channel of each file, (S, N)."""
    signals: list[audio.Audio] = []
    for path in paths:
        samples, rate = audio.read(path)
        if rate != sample_rate:
            raise SepasrError(f"{path}: {rate} Hz found, expected the mixture's {sample_rate} Hz")
        if signals and len(signals[0]) != samples.shape[1]:
            raise SepasrError(
                f"{path}: {samples.shape[1]} samples found, expected {len(signals[0])} as in {paths[0].name}"
            )
        signals.append(audio.channel(samples, microphone))
    return np.stack(signals)


def _score_all_words(mixtures: Sequence[Mixture], listed: Path, rule: Normalisation) -> dict[str, _Words]:
    """Scores of the recordings that were transcribed and have reference texts."""
    heard = transcripts.by_speaker(transcripts.read(listed))
    with_text = [item for item in mixtures if all(source.text is not None for source in item.sources)]
    if silent := len(mixtures) - len(with_text):
        warn(f"{silent} of {len(mixtures)} mixtures have no reference transcripts and no word scores")
    if missing := sum(item.id not in heard for item in with_text):
        warn(f"{listed}: {missing} of {len(with_text)} mixtures were not transcribed and have no word scores")
    scores: dict[str, _Words] = {}
    for item in with_text:
        if item.id not in heard:
            continue
        references = [source.text or "" for source in item.sources]
        hypotheses = list(heard[item.id].values())
        found, assignment = score_words(references, hypotheses, rule)
        scores[item.id] = (
            found,
            tuple(
                SpokenPair(source.speaker, text, None if index is None else hypotheses[index])
                for source, text, index in zip(item.sources, references, assignment, strict=True)
            ),
        )
    return scores


def _joined(mixture: Mixture, signals: _Signals | None, words: _Words | None) -> RecordingScore:
    scores, estimates = signals or ((), ())
    found, pairs = words or (None, ())
    speakers = tuple(source.speaker for source in mixture.sources)
    return RecordingScore(mixture.id, speakers, scores, estimates, found, pairs)


def _show(summary: dict[str, Any], recordings: Sequence[RecordingScore], title: str, examples: int) -> None:
    console = Console(highlight=False)
    console.print(report.table(summary, title))
    for line in report.remarks(summary):
        console.print(line, markup=False, soft_wrap=True)
    shown = [recording for recording in recordings if recording.transcripts][:examples]
    for recording in shown:
        console.print(f"\n{report.example(recording)}", markup=False, soft_wrap=True)
    if examples > 0 and not shown:
        say("no transcripts to show")
