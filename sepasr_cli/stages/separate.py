"""`sepasr separate`: mixtures in, one audio file per speaker out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sepasr_cli import bundled
from sepasr_cli.device import Precision, pick_device
from sepasr_cli.errors import ArgumentError
from sepasr_cli.files import fingerprint, inside, write_json
from sepasr_cli.inference.drafts import Drafts
from sepasr_cli.inference.familiar import unlike_training
from sepasr_cli.inference.inputs import (
    SEPARATED,
    Input,
    Outcome,
    check_folder,
    check_speakers,
    collect,
    first_channels,
    refuse_to_replace,
    run_of,
    split_folder,
    work_on_audio,
)
from sepasr_cli.inference.journal import Journal
from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.inference.recording import parse_channels
from sepasr_cli.inference.summary import Summary
from sepasr_cli.manifest import Mixture, Separated, read_manifest, write_manifest
from sepasr_cli.pretrained import System, load_separator
from sepasr_cli.progress import say, warn
from sepasr_cli.rundir import RunDir


def separate(
    inputs: Sequence[Path | str],
    model: str | None = None,
    out: Path | str | None = None,
    split: str | None = None,
    system: System | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    channels: str | Sequence[int] | None = None,
    speakers: int | None = None,
    overwrite: bool = False,
    restart: bool = False,
) -> Outcome:
    """Separate recordings; a bad one never stops the others.

    Args:
        inputs: audio files and folders; or a run directory, with `split`.
        model: run directory, saved model, Hugging Face name, or "bundled" for the model that comes with the package;
            by default the run itself, for files and for runs that trained none the bundled model.
        out: folder for `NAME_spk1.wav`, `NAME_spk2.wav`, ..., the tree of a folder kept; by default `separated`.
        split: the run's mixtures to separate, into `RUN/separated/<split>`.
        system: the run's "joint" or "cascade" separator; by default the joint one where there is one. Where it is
            given, a split's folder is `<split>-<system>`.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "fp32" computes exactly; "bf16" is faster, at an error of up to 1 % of the separated signals; "auto"
            takes bf16 where the processor or GPU has it.
        channels: channels to take, counted from 1, such as "1,3".
        speakers: how many speak at most; the streams with most speech are kept. Streams without any are never written
            (but for a split, whose scores need all).
        overwrite: replace files that are there.
        restart: put aside what was separated with another model, and begin again.

    Returns:
        The files written, and what failed: `check()` raises where anything did.

    Raises:
        SepasrError: where nothing can be done at all.
    """
    chosen = parse_channels(channels)
    check_speakers(speakers, split)
    if split is not None:
        if out is not None:
            raise ArgumentError("--out is for files and folders; a split's results go into the run directory")
        return _separate_split(run_of(inputs), model, split, system, device, precision, chosen, restart)
    folder = Path("separated" if out is None else out)
    check_folder(folder)
    files, failures = collect(inputs, folder)
    total = len(files) + len(failures)
    if not files:
        return Outcome(total, failures=failures)
    if bundled.is_meant(model):
        say(bundled.described())
    pipeline = Pipeline(load_separator(model, pick_device(device), system), precision=precision)
    made_from = {"model": pipeline.fingerprint(), "options": [chosen, speakers]} | pipeline.inexactness
    journal = Journal(folder / ".separate.jsonl", made_from, fresh=overwrite)
    written: list[Path] = []

    def work(item: Input, advance: Callable[[float], None]) -> None:
        targets = [inside(folder, f"{item.name}_spk{number + 1}.wav") for number in range(pipeline.speakers)]
        joins = inside(folder, f"{item.name}_joins.json")
        if not overwrite:
            refuse_to_replace([*targets, joins])
        recording = pipeline.prepare(item.path, chosen)
        for line in recording.remarks:
            say(f"{item}: {line}")
        summary = Summary()
        with Drafts(targets[0].parent, pipeline.speakers, recording.sample_rate) as drafts:
            for piece in pipeline.separate(recording, summary, advance):
                drafts.write(piece)
            kept = summary.speakers(speakers) or range(pipeline.speakers)
            for path, stream in zip(targets, kept, strict=False):
                drafts.publish(stream, path)
        for path in targets[len(kept) :]:
            # What an earlier run left there belongs to no speaker any more.
            path.unlink(missing_ok=True)
        for line in summary.lines(speakers):
            say(f"{item}: {line}")
        if bundled.is_meant(model):
            for line in unlike_training(recording, summary, pipeline, bundled.trained_on(), speakers):
                warn(f"{item}: {line}")
        if summary.joins:
            write_json(joins, summary.record())
        written.extend(targets[: len(kept)])
        journal.note(item, targets[: len(kept)])

    todo = journal.left(files)
    failures |= work_on_audio("separate", todo, work)
    if not failures:
        journal.close()
    if written:
        say(f"{folder}: {len(written)} files written from {len(todo)} recordings")
    return Outcome(total, written, failures=failures)


def _separate_split(
    run: RunDir,
    model: str | None,
    split: str,
    system: System | None,
    device: str,
    precision: Precision,
    channels: list[int] | None,
    restart: bool,
) -> Outcome:
    manifest = run.require_manifest(split)
    model = bundled.chosen_for(run, model, system)
    pipeline = Pipeline(load_separator(model or str(run.path), pick_device(device), system), precision=precision)
    settings: dict[str, Any] = {"model": model, "system": system, "channels": channels} | pipeline.inexactness
    made_from = {"manifest": fingerprint(manifest), "model": pipeline.fingerprint()}
    with run.stage(split_folder("separated", split, system), settings, made_from, restart=restart) as stage:
        if stage.finished:
            return Outcome(0)
        mixtures = read_manifest(manifest, Mixture)
        numbers = range(1, pipeline.speakers + 1)
        names = {item.id: [f"{item.id}_spk{number}.wav" for number in numbers] for item in mixtures}
        targets = {item.id: [inside(stage.folder, name) for name in names[item.id]] for item in mixtures}
        todo = [item for item in mixtures if not all(path.is_file() for path in targets[item.id])]
        if len(todo) < len(mixtures):
            say(f"{stage.folder}: {len(mixtures) - len(todo)} of {len(mixtures)} mixtures are done, going on")

        def work(item: Input, advance: Callable[[float], None]) -> None:
            recording = pipeline.prepare(item.path, channels or first_channels(item.path, pipeline.microphones))
            with Drafts(stage.folder, pipeline.speakers, recording.sample_rate) as drafts:
                for piece in pipeline.separate(recording, advance=advance):
                    drafts.write(piece)
                # All of them, in the separator's order: who is who is for scoring to find.
                for stream, path in enumerate(targets[item.name]):
                    drafts.publish(stream, path)

        failures = work_on_audio("separate", [Input(manifest.parent / item.audio, item.id) for item in todo], work)
        done = [item for item in mixtures if all(path.is_file() for path in targets[item.id])]
        write_manifest(stage.folder / SEPARATED, [Separated(id=item.id, audio=tuple(names[item.id])) for item in done])
        stage.results = {"mixtures": len(done), "failed": len(failures)}
        stage.complete = not failures
    say(f"{stage.folder}: {len(done)} of {len(mixtures)} mixtures separated")
    return Outcome(len(mixtures), [path for item in done for path in targets[item.id]], failures=failures)
