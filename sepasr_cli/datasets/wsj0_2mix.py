"""wsj0-2mix (Hershey et al. 2016; arXiv 1508.04306) and its spatialised version (Wang, Le Roux, Hershey 2018).

<path>/2speakers/wav{8k,16k}/{min,max}/{tr,cv,tt}/{mix,s1,s2}/<utterance>_<dB>_<utterance>_<dB>.wav
<path>/2speakers_anechoic/...     8 microphones
<path>/2speakers_reverb/...       the same rooms with their reverberation
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from sepasr_cli.corpora import wsj0
from sepasr_cli.corpora.text import TextRule
from sepasr_cli.datasets.dataset import (
    ALL_REFERENCES,
    WSJ_SPLITS,
    Dataset,
    Found,
    FoundSource,
    Problems,
    admit,
    audio_of,
    folder,
    transcripts_of,
)
from sepasr_cli.manifest import SPLITS, Mixture, Reference, Split
from sepasr_cli.settings import Settings

RoomKind = Literal["none", "anechoic", "reverberant", "both"]

#: Mixtures of two speakers in each split.
PUBLISHED: dict[Split, int] = {"train": 20000, "dev": 5000, "test": 3000}

#: What folders of each room end in.
FOLDERS = {"none": "", "anechoic": "_anechoic", "reverberant": "_reverb"}


def _for_every_split(value: Any) -> Any:
    return dict.fromkeys(SPLITS, value) if isinstance(value, str) else value


class WSJ0MixSources(Settings):
    """What wsj0-2mix is made from, where it is not there yet; rooms are drawn as the recipe's `simulation` says."""

    wsj0: Path = Field(description="folder of WSJ0, 16 kHz")
    lists: Path = Field(description="folder of mix_2_spk_tr.txt, mix_2_spk_cv.txt, mix_2_spk_tt.txt")
    scaling: Path | None = Field(None, description="folder of WHAM!'s scaling_*.npz; None: levels are measured")


class WSJ0Mix(Dataset):
    """wsj0-2mix as it was mixed, or spatialised; `room` may be told for each split."""

    kind: Literal["wsj0_2mix"] = "wsj0_2mix"
    room: Annotated[dict[Split, RoomKind], BeforeValidator(_for_every_split)] = Field(
        dict.fromkeys(SPLITS, "reverberant"), description="none: a single channel, as mixed; both: of either sort one"
    )
    length: Literal["min", "max"] = Field("max", description="min: cut to the shorter utterance, without transcripts")
    microphone: int = Field(3, ge=0, le=7, description="the reference, counted from 0; of a single channel it is 0")
    transcripts: Path | None = Field(None, description="folder of WSJ0 whose transcripts are joined; None: no texts")
    text: TextRule = "wsj"
    make_from: WSJ0MixSources | None = Field(None, description="None: it is there already")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rooms = {room for split in SPLITS for room in self.rooms(split)}
        if "none" in rooms and len(rooms) > 1:
            raise ValueError("room is none for some splits and not for others; they differ in microphones")
        check_length(self.length, self.transcripts)
        return self

    def rooms(self, split: Split) -> list[RoomKind]:
        """The rooms that a split's mixtures are taken from."""
        room = self.room.get(split, "reverberant")
        return ["anechoic", "reverberant"] if room == "both" else [room]

    @property
    def _mono(self) -> bool:
        return "none" in self.room.values()

    @property
    def microphones(self) -> int:
        """Channels of every mixture."""
        return 1 if self._mono else 8

    @property
    def reference_microphone(self) -> int:
        """The channel at which references are taken."""
        return 0 if self._mono else self.microphone

    @property
    def references(self) -> tuple[Reference, ...]:
        """Which references there are: in a reverberant room no early part."""
        return ("direct", "image") if {"reverberant", "both"} & set(self.room.values()) else ALL_REFERENCES


def check_length(length: str, transcripts: Path | None) -> None:
    """Refuse transcripts for mixtures whose words are cut off.

    Raises:
        ValueError: for pydantic to report.
    """
    if length == "min" and transcripts is not None:
        raise ValueError("length min cuts words off, which no transcript tells; choose max, or leave transcripts out")


def read(config: WSJ0Mix, split: Split, sample_rate: int, skip_bad: bool) -> list[Mixture]:
    """The mixtures of a split, ordered by name.

    Raises:
        SepasrError: for a folder that is not there, and for every mismatch of the files.
    """
    texts = wsj0.transcripts(config.transcripts) if config.transcripts else None
    problems = Problems()
    rooms = config.rooms(split)
    found = [one for kind in rooms for one in _found(config, split, kind, len(rooms) > 1, sample_rate, texts, problems)]
    return admit(
        found,
        config,
        split,
        WSJ_SPLITS[split],
        sample_rate=sample_rate,
        with_text=texts is not None,
        skip_bad=skip_bad,
        problems=problems,
        expected=PUBLISHED[split] * len(rooms),
    )


def _found(
    config: WSJ0Mix,
    split: Split,
    room: str,
    several: bool,
    sample_rate: int,
    texts: Mapping[str, str] | None,
    problems: Problems,
) -> list[Found]:
    below = Path(rate_folder(sample_rate)) / config.length / WSJ_SPLITS[split]
    base = config.path / f"2speakers{FOLDERS[room]}" / below
    places: dict[Reference, Path] = {"image": base}
    if room == "reverberant":
        # The anechoic version is of the same rooms, gains and all.
        dry = config.path / "2speakers_anechoic" / below
        if dry.is_dir():
            places["direct"] = dry
    else:
        places |= {"direct": base, "early": base}
    for place in places.values():
        for part in ("mix", "s1", "s2"):
            folder(place / part, config.kind, f"{below} below a folder 2speakers{FOLDERS[room]}")
    sources: list[dict[Reference, Path]] = [
        {kind: place / part for kind, place in places.items()} for part in ("s1", "s2")
    ]
    suffix = f"_{room}" if several else ""
    found = []
    for audio, files, _ in audio_of(base, "mix", sources, None, problems):
        utterances = utterances_of(audio.stem)
        if utterances is None:
            problems.add("with a name that tells no utterances", str(audio))
            continue
        spoken = zip(utterances, files, strict=True)
        speakers = tuple(wsj_source(name, one, texts, config.text) for name, one in spoken)
        found.append(Found(audio.stem + suffix, audio, speakers))
    return found


def rate_folder(sample_rate: int) -> str:
    """The folder of a sample rate.

    >>> rate_folder(16000)
    'wav16k'
    """
    return f"wav{sample_rate // 1000}k"


def utterances_of(name: str) -> tuple[str, str] | None:
    """The utterances in a mixture's name.

    >>> utterances_of("01to030v_0.4757_20ga010m_-0.4757")
    ('01to030v', '20ga010m')
    """
    parts = name.split("_")
    return (parts[0], parts[2]) if len(parts) == 4 else None


def wsj_source(
    utterance: str, files: Mapping[Reference, Path], texts: Mapping[str, str] | None, rule: TextRule
) -> FoundSource:
    """A speaker of a mixture of WSJ0, whose name is the first three letters of the utterance's."""
    return FoundSource(utterance, utterance[:3], files, transcripts_of(texts, rule, utterance))
