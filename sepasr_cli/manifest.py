"""Manifests: what is said in which file, one JSON record a line, paths relative to the manifest's folder."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside, write_text
from sepasr_cli.settings import Settings, SettingsType, validate

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

#: The reference signals of a source: the anechoic path, its first 50 ms, the full reverberant image.
Reference = Literal["direct", "early", "image"]

Point = tuple[float, float, float]

#: The link beside a manifest that leads to the folder of a published set, which stays where it lies.
DATASET = "dataset"


class Utterance(Settings):
    """One person speaking alone: a file, or the part of it between `start` and `end` seconds."""

    id: str = Field(min_length=1)
    audio: Path
    speaker: str = Field(min_length=1)
    text: str | None = None
    start: float = Field(default=0.0, ge=0)
    end: float | None = None
    sample_rate: int = Field(gt=0)
    duration: float = Field(gt=0, description="seconds of speech, after the cut")


class Source(Settings):
    """One speaker of a mixture: what was said, when, how loud, and references (1, N) at the reference microphone.

    A reference may also hold as many channels as the mixture, of which that of the reference microphone counts.
    """

    speaker: str
    text: str | None = None
    utterance: str = Field(default="", description="id of the corpus utterance; empty where none is known")
    start: float = Field(default=0.0, ge=0, description="seconds from the mixture's start")
    end: float = Field(gt=0)
    offset: float = Field(default=0.0, ge=0, description="seconds of the utterance left out at its start")
    level_db: float = Field(
        default=0.0, description="level of the image at the reference microphone, against the first source's"
    )
    gain: float = Field(
        default=1.0, gt=0, description="factor on the utterance's samples that gave that level; found in rendering"
    )
    direct: str | None = None
    early: str | None = None
    image: str | None = None


class Room(Settings):
    """A shoebox and what stands in it, in metres; `t60` in seconds, None where anechoic."""

    size: Point
    t60: float | None = None
    microphones: tuple[Point, ...]
    sources: tuple[Point, ...]


class Noise(Settings):
    """The noise of a mixture. A folder's file is named relative to the folder in the recipe."""

    kind: Literal["white", "diffuse", "folder"]
    snr_db: float
    file: str | None = None
    offset: float = Field(default=0.0, ge=0, description="seconds left out at the file's start")


class Mixture(Settings):
    """A recording of overlapping speakers with all that is known of it; lengths in seconds."""

    id: str = Field(min_length=1)
    audio: str = Field(description="file of M channels, relative to the manifest")
    sample_rate: int = Field(gt=0)
    duration: float = Field(gt=0)
    sources: tuple[Source, ...] = Field(min_length=1)
    reference_microphone: int = Field(default=0, ge=0)
    room: Room | None = None
    noise: Noise | None = None
    level_dbfs: float = Field(
        default=-25.0, description="RMS level of the mixture, unless a peak would then pass 0.9 of full scale"
    )
    noise_audio: str | None = Field(default=None, description="file of the noise alone, (M, N)")
    seed: int = 0

    def files(self) -> list[str]:
        """Every audio file it names, relative to the manifest."""
        names = [self.audio, self.noise_audio]
        for source in self.sources:
            names += [source.direct, source.early, source.image]
        return [name for name in names if name is not None]


class BankRoom(Settings):
    """A room whose responses are kept for mixing while training."""

    id: str = Field(min_length=1)
    responses: str = Field(description="`.npz` file of the responses, relative to the manifest")
    sample_rate: int = Field(gt=0)
    room: Room


class Separated(Settings):
    """The separated signals of a recording: one file a speaker, relative to the manifest."""

    id: str = Field(min_length=1)
    audio: tuple[str, ...] = Field(min_length=1)


def read_manifest(path: Path, kind: type[SettingsType]) -> list[SettingsType]:
    """Read a JSON Lines manifest of `kind`.

    Raises:
        SepasrError: naming the file and line of a broken record, a repeated id, or a path that leads out of the folder.
            Of links, `dataset` alone may lead elsewhere; that it leads where the recipe says is for RunDir to check.
    """
    if not path.is_file():
        raise SepasrError(f"{path}: no such manifest; run `sepasr simulate` first")
    records: list[SettingsType] = []
    seen: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                values = json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise SepasrError(f"{path}:{number}: not JSON ({error}); every line must be one record") from None
            record = validate(kind, values, f"{path}:{number}")
            name = getattr(record, "id", None)
            if name in seen:
                raise SepasrError(
                    f"{path}:{number}: id '{name}' was already used on line {seen[name]}; ids must be unique"
                )
            if name is not None:
                seen[name] = number
            for file in _files(record):
                try:
                    inside(path.parent, file, link=DATASET)
                except SepasrError as error:
                    raise SepasrError(f"{path}:{number}: {error}") from None
            records.append(record)
    return records


def _files(record: Settings) -> list[str]:
    if isinstance(record, BankRoom):
        return [record.responses]
    if isinstance(record, Separated):
        return list(record.audio)
    return record.files() if isinstance(record, Mixture) else []


def write_manifest(path: Path, records: Iterable[Settings]) -> None:
    """Write records as JSON Lines, whole or not at all; what equals the default is left out."""
    write_text(path, "".join(record.model_dump_json(exclude_defaults=True) + "\n" for record in records))
