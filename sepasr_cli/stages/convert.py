"""`sepasr convert`: transcripts from one format into others."""

from collections.abc import Sequence
from pathlib import Path

from sepasr_cli import transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.inputs import Input, Outcome, check_folder, collect, refuse_to_replace, work_on
from sepasr_cli.rundir import RunDir
from sepasr_cli.transcripts import FORMATS, Format, Segment
from sepasr_cli.transcripts.destination import Destination


def convert(
    inputs: Sequence[Path | str],
    out: Path | str,
    format: str | Sequence[str] | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Read transcripts and write them in other formats; a bad file never stops the others.

    What a format cannot hold is said, a line a format.

    Args:
        inputs: transcripts, and folders of them; the ending tells a file's format.
        out: a file for all of them where its ending names a format; else a folder, whose tree is that of the inputs.
            A transcript of several recordings becomes a folder where the format holds one recording a file.
        format: of the files in the folder, one or several ("srt,stm"); by default "json" (SegLST).
        overwrite: replace files that are there.

    Returns:
        The segments, the files written, and what failed: `check()` raises where anything did.

    Raises:
        SepasrError: where nothing can be done at all.
    """
    target = Destination.of(out, format)
    if target.folder is not None:
        check_folder(target.folder)
    for path in map(Path, inputs):
        if RunDir.is_one(path):
            raise SepasrError(f"{path}: a run directory; name one of its transcripts, such as {path}/transcripts/test")
    endings = ", ".join(transcripts.ending(kind) for kind in FORMATS if kind != "txt")
    files, failures = collect(inputs, target.folder, _find, f"transcripts; expected files ending in {endings}")
    total = len(files) + len(failures)
    if target.path is not None and target.together and not overwrite:
        refuse_to_replace([target.path])
    segments: list[Segment] = []
    written: list[Path] = []

    def work(item: Input) -> None:
        found = transcripts.read(item.path, session=item.name)
        for kind in target.formats:
            _check(item.path, found, kind)
        results = [] if target.together else _results(target, item.name, found)
        if not overwrite:
            refuse_to_replace([path for path, _, _ in results])
        for path, kind, part in results:
            transcripts.write(path, part, kind)
            written.append(path)
        segments.extend(found)

    failures |= work_on("convert", files, work)
    if target.path is not None and target.together and segments:
        transcripts.write(target.path, segments)
        written.append(target.path)
    target.say_lost(segments)
    return Outcome(total, written, segments, failures)


def _find(folder: Path) -> list[Path]:
    """Every transcript below a folder; plain text and a stage's record are none."""
    endings = {f".{kind}" for kind in FORMATS if kind != "txt"}
    found = (path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())
    return sorted(
        path
        for path in found
        if path.name != "stage.json" and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _check(path: Path, segments: Sequence[Segment], kind: Format) -> None:
    """See that what the format is about is there at all."""
    title, keeps = FORMATS[kind].title, FORMATS[kind].keeps
    if transcripts.format_of(path) == "txt" and kind != "txt":
        raise SepasrError(f"{path}: plain text holds no times, {title} is about them; expected another format")
    if segments and "silence" not in keeps and not any(segment.text for segment in segments):
        raise SepasrError(f"{path}: holds no words, {title} is about them; expected a transcript with words")


def _results(target: Destination, name: str, segments: Sequence[Segment]) -> list[tuple[Path, Format, list[Segment]]]:
    """The files to write in a folder, and what goes into each."""
    sessions = list(dict.fromkeys(segment.session_id for segment in segments))
    results: list[tuple[Path, Format, list[Segment]]] = []
    for kind in target.formats:
        if len(sessions) > 1 and "recordings" not in FORMATS[kind].keeps:
            for session in sessions:
                part = [segment for segment in segments if segment.session_id == session]
                results.append((target.file(f"{name}/{session}", kind), kind, part))
        else:
            results.append((target.file(name, kind), kind, list(segments)))
    return results
