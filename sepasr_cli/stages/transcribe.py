"""`sepasr transcribe`: mixtures in, who said what out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from sepasr_cli import bundled, transcripts
from sepasr_cli.device import Precision, pick_device
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.files import fingerprint, read_text
from sepasr_cli.inference.familiar import unlike_training
from sepasr_cli.inference.inputs import (
    TRANSCRIPTS,
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
from sepasr_cli.manifest import Mixture, read_manifest
from sepasr_cli.pretrained import DECODING, System, language_model_of, load_language_model, load_system
from sepasr_cli.progress import say, warn
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.rundir import RunDir
from sepasr_cli.settings import validate
from sepasr_cli.transcripts import Segment
from sepasr_cli.transcripts.destination import Destination
from sepasr_cli.transcripts.speakers import name_speakers, parse_names

#: What lifts a limit on words.
ANY = "any"
#: Where a split's transcripts are kept while it is under way.
UNDER_WAY = "transcripts.partial.jsonl"


def transcribe(
    inputs: Sequence[Path | str],
    model: str | None = None,
    out: Path | str | None = None,
    format: str | Sequence[str] | None = None,
    split: str | None = None,
    system: System | None = None,
    recognizer: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    channels: str | Sequence[int] | None = None,
    decoding: Literal["beam", "greedy", "attention"] | None = None,
    beam: int | None = None,
    language_model: str | None = None,
    lm_weight: float | None = None,
    words: Path | str | None = None,
    word_times: bool = False,
    speaker_names: str | Sequence[str] | None = None,
    speakers: int | None = None,
    whole: bool = False,
    overwrite: bool = False,
    restart: bool = False,
) -> Outcome:
    """Transcribe recordings; a bad one never stops the others.

    Without `out` each speaker's words are printed, a line a speaker.

    Args:
        inputs: audio files and folders; or a run directory, with `split`.
        model: run directory, saved model, Hugging Face name, or "bundled" for the model that comes with the package;
            by default the run itself, for files and for runs that trained none the bundled model.
        out: a file for all transcripts where its ending names a format; else a folder for one file a recording.
        format: of the files in the folder, one or several ("json,srt"); by default "json" (SegLST).
        split: the run's mixtures to transcribe, into `RUN/transcripts/<split>/transcripts.json`.
        system: the run's "joint" or "cascade" models; by default the joint one where there is one. Where it is given,
            a split's folder is `<split>-<system>`.
        recognizer: another recogniser than the model's: a run directory, a saved folder, or a CTC model or Whisper of
            transformers by Hugging Face name or folder.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "fp32" computes exactly; "bf16" is faster, at an error of up to 1 % of the separated signals; "auto"
            takes bf16 where the processor or GPU has it.
        channels: channels to take, counted from 1, such as "1,3".
        decoding: how to search; by default as the run's recipe or the saved model says.
        beam: hypotheses kept while searching.
        language_model: a language model to search with: a run directory, a saved folder or a Hugging Face name; by
            default the one that `pretrain_lm` made in the run, or that lies beside the model's weights.
        lm_weight: its weight, 0 for none; by default as the run's recipe says, and 1 where that says nothing.
        words: a text file with the words there are, parted by white space, all that transcripts are made of, or "any";
            by default as the run's recipe or the saved model says. Greedy decoding does not mind it.
        word_times: find out when each word was said, and how sure the recogniser is of it.
        speaker_names: what speakers are called in the order of their first words, such as "Anna,Ben"; by default spk1,
            spk2, ... In a run's split the numbers are those of the separator's outputs.
        speakers: how many speak at most; those with most speech are kept.
        whole: recognise each stream from beginning to end just as the separator gives it, as papers that evaluate on
            mixtures of single utterances do, instead of the speech found in it.
        overwrite: replace files that are there.
        restart: put aside what was transcribed with another model, and begin again.

    Returns:
        The segments, the files written, and what failed: `check()` raises where anything did.

    Raises:
        SepasrError: where nothing can be done at all.
    """
    chosen = parse_channels(channels)
    check_speakers(speakers, split)
    stated = (("method", decoding), ("beam", beam), ("lm_weight", lm_weight))
    search: dict[str, Any] = {key: value for key, value in stated if value is not None}
    if words is not None:
        search["words"] = None if str(words) == ANY else _read_words(Path(words))
    if split is not None:
        if out is not None or format is not None:
            raise ArgumentError("--out and --format are for audio files; a split's results go into the run directory")
        if speaker_names is not None:
            raise ArgumentError(
                "--speaker-names is for audio files; a split's speakers are numbered as its signals are"
            )
        run = run_of(inputs)
        return _transcribe_split(
            run,
            model,
            split,
            system,
            recognizer,
            language_model,
            device,
            precision,
            chosen,
            search,
            word_times,
            whole,
            restart,
        )
    names = parse_names(speaker_names)
    target = Destination.of(out, format)
    if target.folder is not None:
        check_folder(target.folder)
    files, failures = collect(inputs, target.folder)
    total = len(files) + len(failures)
    if not files:
        return Outcome(total, failures=failures)
    if target.path is not None and target.together:
        # Told before anything is computed.
        transcripts.check_many(target.formats[0], len(files))
        if not overwrite:
            refuse_to_replace([target.path])
    if bundled.is_meant(model):
        say(bundled.described())
    pipeline = build_pipeline(model, system, recognizer, language_model, device, precision, search, word_times, whole)
    if len(names) > pipeline.speakers:
        raise ArgumentError(f"--speaker-names holds {len(names)} names, the model gives {pipeline.speakers} speakers")
    made_from = {
        "model": pipeline.fingerprint(),
        "decoding": pipeline.decoding.model_dump(),
        "options": [chosen, speakers, word_times, names, target.formats, language_model, whole],
    } | pipeline.inexactness
    journal = Journal(target.journal, made_from, fresh=overwrite)
    todo = journal.left(files)
    done = {item.name: _segments(record) for item in files if (record := journal.record(item)) is not None}
    written: list[Path] = []

    def work(item: Input, advance: Callable[[float], None]) -> None:
        paths = {target.file(item.name, kind): kind for kind in target.formats} if target.folder is not None else {}
        if not overwrite:
            refuse_to_replace(list(paths))
        recording = pipeline.prepare(item.path, chosen)
        for line in recording.remarks:
            say(f"{item}: {line}")
        summary = Summary()
        found = pipeline.transcribe(recording, item.name, speakers, summary, advance)
        for line in summary.lines(speakers):
            say(f"{item}: {line}")
        if bundled.is_meant(model):
            for line in unlike_training(recording, summary, pipeline, bundled.trained_on(), speakers):
                warn(f"{item}: {line}")
        done[item.name] = found = name_speakers(found, names)
        for path, kind in paths.items():
            transcripts.write(path, found, kind)
            written.append(path)
        if target.path is None:
            print(transcripts.render(found, "txt"), end="", flush=True)
        journal.note(item, list(paths), segments=[segment.model_dump(exclude_none=True) for segment in found])

    failures |= work_on_audio("transcribe", todo, work)
    segments = [segment for item in files for segment in done.get(item.name, [])]
    if target.path is not None and target.together and segments:
        transcripts.write(target.path, segments)
        written.append(target.path)
    if not failures:
        journal.close()
    target.say_lost(segments)
    return Outcome(total, written, segments, failures)


def _read_words(path: Path) -> list[str]:
    words = read_text(path, "expected words, or --words any").split()
    if not words:
        raise SepasrError(f"{path}: holds no words; expected some, parted by white space, or --words any")
    return sorted(set(words))


def _segments(record: dict[str, Any]) -> list[Segment]:
    return [validate(Segment, values, "a journal") for values in record["segments"]]


def build_pipeline(
    model: str | None,
    system: System | None,
    recognizer: str | None,
    language_model: str | None,
    device: str,
    precision: Precision,
    search: dict[str, Any],
    word_times: bool,
    whole: bool,
) -> Pipeline:
    """The models, which search as their run's recipe, or they themselves, say where `search` says nothing else.

    Args are those of `transcribe`, `search` being the fields of `DecodingConfig` that are stated.

    Raises:
        SepasrError: where a model is missing or they do not fit together.
    """
    home = pick_device(device)
    loaded = load_system(model, home, system, recognizer)
    stated: dict[str, Any] = loaded.provenance.get(DECODING, {})
    if model is not None and RunDir.is_one(Path(model)):
        stated = RunDir(model).recipe().decoding.model_dump()
    decoding = validate(DecodingConfig, stated | search, "decoding")
    assert isinstance(decoding, DecodingConfig)
    if language_model is None and type(loaded.recognizer) is Recognizer:
        language_model = language_model_of(recognizer or model)
    weight = decoding.language_model_weight(language_model is not None)
    if weight > 0 and language_model is None:
        found = f"lm_weight is {weight:g}, and there is no language model"
        if "lm_weight" in search:
            raise SepasrError(f"{found}; run `sepasr pretrain-lm RUN`, pass --language-model, or --lm-weight 0")
        say(f"the recipe's {found}: searching without")
        weight = 0.0
    asked = load_language_model(language_model, home) if language_model is not None and weight > 0 else None
    decoding = decoding.model_copy(update={"lm_weight": weight})
    return Pipeline(
        loaded,
        decoding,
        word_times=word_times,
        precision=precision,
        language_model=asked,
        whole=whole,
        # Words of another recogniser than the bundled one tell nothing of the input.
        confidences=bundled.is_meant(model) and recognizer is None,
    )


def _transcribe_split(
    run: RunDir,
    model: str | None,
    split: str,
    system: System | None,
    recognizer: str | None,
    language_model: str | None,
    device: str,
    precision: Precision,
    channels: list[int] | None,
    search: dict[str, Any],
    word_times: bool,
    whole: bool,
    restart: bool,
) -> Outcome:
    manifest = run.require_manifest(split)
    model = bundled.chosen_for(run, model, system)
    pipeline = build_pipeline(
        model or str(run.path), system, recognizer, language_model, device, precision, search, word_times, whole
    )
    settings: dict[str, Any] = {
        "model": model,
        "system": system,
        "recognizer": recognizer,
        "language_model": language_model,
        "channels": channels,
        "decoding": pipeline.decoding.model_dump(),
        "word_times": word_times,
        "whole": whole,
    } | pipeline.inexactness
    made_from = {"manifest": fingerprint(manifest), "model": pipeline.fingerprint()}
    with run.stage(split_folder("transcripts", split, system), settings, made_from, restart=restart) as stage:
        if stage.finished:
            return Outcome(0, segments=transcripts.read(stage.folder / TRANSCRIPTS))
        mixtures = read_manifest(manifest, Mixture)
        under_way = stage.folder / UNDER_WAY
        done = _read_under_way(under_way)
        if done:
            say(f"{stage.folder}: {len(done)} of {len(mixtures)} mixtures are done, going on")

        with under_way.open("a", encoding="utf-8") as lines:

            def work(item: Input, advance: Callable[[float], None]) -> None:
                recording = pipeline.prepare(item.path, channels or first_channels(item.path, pipeline.microphones))
                done[item.name] = pipeline.transcribe(recording, item.name, advance=advance)
                records = [segment.model_dump(exclude_none=True) for segment in done[item.name]]
                lines.write(json.dumps({"id": item.name, "segments": records}) + "\n")
                lines.flush()

            todo = [Input(manifest.parent / item.audio, item.id) for item in mixtures if item.id not in done]
            failures = work_on_audio("transcribe", todo, work)
        segments = [segment for item in mixtures for segment in done.get(item.id, [])]
        path = stage.folder / TRANSCRIPTS
        transcripts.write(path, segments)
        stage.results = {"mixtures": len(mixtures) - len(failures), "failed": len(failures)}
        stage.complete = not failures
        if stage.complete:
            under_way.unlink()
    say(f"{path}: {len(mixtures) - len(failures)} of {len(mixtures)} mixtures transcribed")
    return Outcome(len(mixtures), [path], segments, failures)


def _read_under_way(path: Path) -> dict[str, list[Segment]]:
    """Segments of the mixtures done before the command was stopped; a line cut off at the end is dropped."""
    done: dict[str, list[Segment]] = {}
    if not path.is_file():
        return done
    whole = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            record = json.loads(line)
            name, segments = record["id"], [validate(Segment, values, str(path)) for values in record["segments"]]
        except (ValueError, KeyError, TypeError, SepasrError):
            break
        whole.append(line)
        done[name] = segments
    path.write_text("".join(whole), encoding="utf-8")
    return done
