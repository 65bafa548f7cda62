"""What a command is to work on: files and folders, a name for each file's results, and what became of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sepasr_cli import audio
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.heap import keep_heap
from sepasr_cli.progress import audio_progress, progress, say
from sepasr_cli.rundir import RunDir
from sepasr_cli.transcripts import Segment

#: What a split's results are listed in, within its folder below a run.
SEPARATED, TRANSCRIPTS = "separated.jsonl", "transcripts.json"


@dataclass(frozen=True)
class Input:
    """A file, and the name of its results: the path without ending below the folder that was given."""

    path: Path
    name: str

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Outcome:
    """What a command did: files written, segments transcribed, and for each input that failed the reason, one line."""

    total: int
    written: list[Path] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Name what failed.

        Raises:
            SepasrError: where anything did.
        """
        if not self.failures:
            return
        if self.total == 1:
            raise SepasrError(next(iter(self.failures.values())))
        for line in self.failures.values():
            say(line)
        raise SepasrError(f"{len(self.failures)} of {self.total} files failed: {', '.join(self.failures)}")


def collect(
    inputs: Sequence[Path | str],
    out: Path | None = None,
    find: Callable[[Path], list[Path]] = audio.find,
    wanted: str = f"audio; expected files ending in {', '.join(audio.SUFFIXES)}",
) -> tuple[list[Input], dict[str, str]]:
    """The files of the inputs, folders searched through, and what is wrong with those that give none.

    Two files never get one name: where they would, the ending stays, then folders above come before it.

    Args:
        inputs: files and folders.
        out: the folder of results, which is not searched where it lies below an input.
        find: the files that are meant below a folder.
        wanted: what that is, for people.

    Raises:
        SepasrError: where an input is a run directory, whose split was not named.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    failures: dict[str, str] = {}
    folders = sum(Path(item).is_dir() for item in inputs)
    for path in map(Path, inputs):
        if RunDir.is_one(path):
            raise SepasrError(f"{path}: a run directory; say which of its mixtures are meant, such as --split test")
        if not path.is_dir():
            if path.exists():
                found.setdefault(path.resolve(), (path, Path(path.name)))
            else:
                failures[str(path)] = f"{path}: no such file; check the path"
            continue
        files = [file for file in find(path) if not _is_result(file, path, out)]
        if not files:
            failures[str(path)] = f"{path}: holds no {wanted}"
        for file in files:
            below = file.relative_to(path)
            found.setdefault(file.resolve(), (file, Path(path.resolve().name) / below if folders > 1 else below))
    names = _distinct([(resolved, shown) for resolved, (_, shown) in found.items()])
    return [Input(path, name) for (path, _), name in zip(found.values(), names, strict=True)], failures


def work_on(label: str, items: Sequence[Input], work: Callable[[Input], None]) -> dict[str, str]:
    """Do `work` on every input, whatever becomes of the others.

    Returns:
        For each input that failed the reason, one line.
    """
    failures: dict[str, str] = {}
    with progress(label, len(items)) as advance:
        for item in items:
            failures |= _attempt(item, partial(work, item))
            advance()
    return failures


def work_on_audio(
    label: str, items: Sequence[Input], work: Callable[[Input, Callable[[float], None]], None]
) -> dict[str, str]:
    """As `work_on`, but `work` is also given a function to tell how many seconds of audio it has done since."""
    keep_heap()
    failures: dict[str, str] = {}
    lengths = [_seconds(item) for item in items]
    with audio_progress(label, sum(lengths)) as advance:
        for item, left in zip(items, lengths, strict=True):

            def heard(seconds: float) -> None:
                nonlocal left
                left -= seconds
                advance(seconds)

            failures |= _attempt(item, partial(work, item, heard))
            advance(left)
    return failures


def _attempt(item: Input, work: Callable[[], None]) -> dict[str, str]:
    """Do the work on one input; where it fails, the reason, one line, for the input's name."""
    try:
        work()
    except SepasrError as error:
        line = str(error)
        return {str(item): line if str(item) in line else f"{item}: {line}"}
    except RuntimeError as error:
        # Told by its name, so that work on text needs no PyTorch.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        return {str(item): f"{item}: too little memory on the device; use --device cpu or smaller windows"}
    except OSError as error:
        return {str(item): f"{item}: {error.strerror or error}; check the folder and its rights"}
    return {}


def _seconds(item: Input) -> float:
    """An input's length; none where it cannot be read, which the work on it will say."""
    try:
        return audio.info(item.path).duration
    except (SepasrError, OSError):
        return 0.0


def run_of(inputs: Sequence[Path | str]) -> RunDir:
    """The run directory among the inputs, which must be the only one.

    Raises:
        SepasrError: where there is none, or anything beside it.
    """
    if len(inputs) != 1:
        raise ArgumentError(f"--split takes one run directory, found {len(inputs)} inputs; leave it out for audio")
    return RunDir.open(inputs[0])


def split_folder(kind: str, split: str, system: str | None) -> str:
    """Folder below a run of a split's results.

    >>> split_folder("separated", "test", None), split_folder("scores", "test", "cascade")
    ('separated/test', 'scores/test-cascade')
    """
    return f"{kind}/{split}" if system is None else f"{kind}/{split}-{system}"


def first_channels(path: Path, microphones: int) -> list[int] | None:
    """A run's model takes the first microphones of its mixtures, as in training; None where there are no more."""
    return list(range(1, microphones + 1)) if audio.info(path).channels > microphones else None


def check_speakers(speakers: int | None, split: str | None) -> None:
    """See that `--speakers` is a number of people, and not asked for where all streams are needed.

    Raises:
        ArgumentError: where it is not so.
    """
    if speakers is not None and split is not None:
        raise ArgumentError(
            "--speakers is for audio files; all streams of a split are kept, which scoring matches with the references"
        )
    if speakers is not None and speakers < 1:
        raise ArgumentError(f"--speakers {speakers}: expected at least 1")


def check_folder(out: Path) -> None:
    """See that results can go into `out`, before anything is computed.

    Raises:
        SepasrError: where it is a file.
    """
    if out.exists() and not out.is_dir():
        raise SepasrError(f"--out {out}: is a file; give a folder, which is made where it is not there")


def refuse_to_replace(targets: Sequence[Path]) -> None:
    """Leave what is there as it is.

    Raises:
        SepasrError: where one of the files exists.
    """
    for path in targets:
        if path.exists():
            raise SepasrError(f"{path}: exists already; pass --overwrite to replace it, or another --out")


def _is_result(file: Path, folder: Path, out: Path | None) -> bool:
    if out is None or out.resolve() == folder.resolve():
        return False
    return out.resolve().is_relative_to(folder.resolve()) and file.resolve().is_relative_to(out.resolve())


def _distinct(files: list[tuple[Path, Path]]) -> list[str]:
    """A name for every file, given as its full path and the part of it that is shown.

    >>> _distinct([(Path("/x/a.wav"), Path("a.wav")), (Path("/x/b.wav"), Path("b.wav"))])
    ['a', 'b']
    >>> _distinct([(Path("/x/a.wav"), Path("a.wav")), (Path("/y/a.wav"), Path("a.wav"))])
    ['x/a.wav', 'y/a.wav']
    """
    levels = [0] * len(files)
    while True:
        names = [_name(resolved, shown, level) for (resolved, shown), level in zip(files, levels, strict=True)]
        clashes = [index for index, name in enumerate(names) if names.count(name) > 1]
        if not clashes:
            return names
        for index in clashes:
            levels[index] += 1


def _name(resolved: Path, shown: Path, level: int) -> str:
    if level == 0:
        return shown.with_suffix("").as_posix()
    return Path(*resolved.parts[1:][-(len(shown.parts) + level - 1) :]).as_posix()
