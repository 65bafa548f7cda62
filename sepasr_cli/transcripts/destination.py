"""Where a command's transcripts go: to the terminal, into one file for all recordings, or into files of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sepasr_cli.errors import ArgumentError
from sepasr_cli.files import inside
from sepasr_cli.progress import say
from sepasr_cli.transcripts import FORMATS, Format, Segment, ending, format_of, lost, parse_formats


@dataclass(frozen=True)
class Destination:
    """`path` is one file where `together`, else a folder; None where transcripts are printed."""

    path: Path | None
    formats: tuple[Format, ...]
    together: bool

    @classmethod
    def of(cls, out: Path | str | None, format: str | Iterable[str] | None) -> "Destination":
        """What `--out` and `--format` mean: an ending that names a format makes `out` one file for all.

        Raises:
            SepasrError: where they do not go together.
        """
        formats = tuple(parse_formats(format)) if format is not None else ()
        if out is None:
            if formats:
                raise ArgumentError("--format was given without --out; pass --out with a file or a folder")
            return cls(None, (), together=False)
        path = Path(out)
        if not path.is_dir() and path.suffix.lower().removeprefix(".") in FORMATS:
            kind = format_of(path)
            if formats not in ((), (kind,)):
                named = ",".join(formats)
                raise ArgumentError(f"--out {out} ends in {path.suffix}, --format is {named}; leave one of them out")
            return cls(path, (kind,), together=True)
        return cls(path, formats or ("json",), together=False)

    @property
    def folder(self) -> Path | None:
        """The folder for files of each recording, if that is what is wanted."""
        return None if self.together else self.path

    @property
    def journal(self) -> Path | None:
        """Where it is noted which recordings are done; None where transcripts are printed."""
        if self.path is None:
            return None
        return (
            self.path / ".transcribe.jsonl" if self.folder is not None else self.path.with_name(f".{self.path.name}l")
        )

    def file(self, name: str, kind: Format) -> Path:
        """The file in the folder for the recording of that name."""
        assert self.folder is not None
        return inside(self.folder, name + ending(kind))

    def say_lost(self, segments: Sequence[Segment]) -> None:
        """Say what of the segments the formats could not hold, a line a format."""
        for kind in self.formats:
            if found := lost(segments, kind):
                say(f"{FORMATS[kind].title} does not keep {'; '.join(found)}")
