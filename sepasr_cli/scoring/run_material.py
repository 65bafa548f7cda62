"""Finds what is to be compared in a run: the references of a split's manifest, and what was made of its mixtures."""

from collections.abc import Sequence
from pathlib import Path

from sepasr_cli import transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside
from sepasr_cli.inference.inputs import SEPARATED, TRANSCRIPTS, split_folder
from sepasr_cli.manifest import DATASET, Mixture, Reference, Separated, read_manifest
from sepasr_cli.progress import warn
from sepasr_cli.rundir import RunDir
from sepasr_cli.scoring.material import Material, by_session, spoken
from sepasr_cli.scoring.recordings import SignalFiles, SpokenTexts

#: The command that makes what is scored.
COMMANDS = {"separated": "separate", "transcripts": "transcribe"}


def find_run_material(directory: RunDir, split: str, system: str | None, kind: Reference) -> Material:
    """What `separate` and `transcribe` made of a split, beside its manifest.

    Raises:
        SepasrError: where there is neither.
    """
    manifest = directory.require_manifest(split)
    mixtures = read_manifest(manifest, Mixture)
    folders = {name: directory.path / split_folder(name, split, system) for name in COMMANDS}
    listed = {"separated": folders["separated"] / SEPARATED, "transcripts": folders["transcripts"] / TRANSCRIPTS}
    there = _what_is_there(directory, split, system, listed)
    signals: tuple[SignalFiles, ...] = ()
    words: tuple[SpokenTexts, ...] = ()
    missing, failures = {}, {}
    if "separated" in there:
        for item in mixtures:
            if any(getattr(source, kind) is None for source in item.sources):
                failures[item.id] = f"{item.id}: has no '{kind}' reference; add it to simulation.references"
        rendered = [item for item in mixtures if item.id not in failures]
        signals = _signals(rendered, manifest.parent, listed["separated"], kind)
    else:
        missing["signals"] = "the split was not separated"
    if "transcripts" in there:
        done = directory.status(split_folder("transcripts", split, system)) == "finished"
        words = _words(mixtures, listed["transcripts"], done)
        if not words:
            missing["words"] = "no recording has both a reference and a transcript"
    else:
        missing["words"] = "the split was not transcribed"
    return Material(signals, words, missing=missing, failures=failures)


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


def _signals(mixtures: Sequence[Mixture], data: Path, listed: Path, kind: Reference) -> tuple[SignalFiles, ...]:
    """Files of the recordings that were separated."""
    separated = {item.id: item for item in read_manifest(listed, Separated)}
    if missing := sum(item.id not in separated for item in mixtures):
        warn(f"{listed}: {missing} of {len(mixtures)} mixtures were not separated and have no signal scores")
    return tuple(
        SignalFiles(
            id=item.id,
            speakers=tuple(source.speaker for source in item.sources),
            references=tuple(inside(data, getattr(source, kind), link=DATASET) for source in item.sources),
            estimates=tuple(inside(listed.parent, name) for name in separated[item.id].audio),
            names=separated[item.id].audio,
            mixture=inside(data, item.audio, link=DATASET),
            microphone=item.reference_microphone,
        )
        for item in mixtures
        if item.id in separated
    )


def _words(mixtures: Sequence[Mixture], listed: Path, done: bool) -> tuple[SpokenTexts, ...]:
    """Texts of the recordings that were transcribed; where all of them were, one without segments is an empty one."""
    heard = by_session(transcripts.read(listed))
    with_text = [item for item in mixtures if all(source.text is not None for source in item.sources)]
    if silent := len(mixtures) - len(with_text):
        warn(f"{silent} of {len(mixtures)} mixtures have no reference transcripts and no word scores")
    if missing := sum(item.id not in heard for item in with_text):
        said = "have not one word in their transcript" if done else "were not transcribed and have no word scores"
        warn(f"{listed}: {missing} of {len(with_text)} mixtures {said}")
    return tuple(
        SpokenTexts(item.id, tuple(spoken(item)), tuple(heard.get(item.id, ())))
        for item in with_text
        if done or item.id in heard
    )
