"""LibriMix (Cosentino et al. 2020; arXiv 2005.11262): LibriSpeech mixed as recorded, with WHAM!'s noise; no room.

<path>/wav{8k,16k}/{min,max}/{train-100,train-360,dev,test}/{mix_clean,mix_both,mix_single,s1,s2,noise}/<id>_<id>.wav

where <path> is the folder Libri2Mix or Libri3Mix.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sepasr_cli.corpora import librispeech
from sepasr_cli.corpora.text import TextRule
from sepasr_cli.datasets.dataset import (
    Dataset,
    Found,
    FoundSource,
    Problems,
    admit,
    audio_of,
    folder,
    transcripts_of,
)
from sepasr_cli.datasets.wsj0_2mix import check_length, rate_folder
from sepasr_cli.manifest import Mixture, Reference, Split
from sepasr_cli.settings import Settings


class LibriMixSources(Settings):
    """What LibriMix is made from, where it is not there yet."""

    librispeech: Path = Field(description="folder of LibriSpeech, which holds train-clean-100 and so on")
    tables: Path = Field(description="folder of the metadata, libri2mix_*.csv")
    noise: Path | None = Field(None, description="folder of WHAM!'s noise; not needed for clean mixtures")


class LibriMix(Dataset):
    """Libri2Mix or Libri3Mix; a single channel, whose sources are the references of every sort."""

    kind: Literal["librimix"] = "librimix"
    talkers: Literal[2, 3] = 2
    content: Literal["both", "clean", "single"] = Field(
        "clean", description="both: speakers and noise; clean: without noise; single: one speaker and noise"
    )
    length: Literal["min", "max"] = Field("max", description="min: cut to the shortest utterance, without transcripts")
    subsets: dict[Split, tuple[str, ...]] = Field(
        {"train": ("train-100",), "dev": ("dev",), "test": ("test",)}, description="the folders of each split"
    )
    transcripts: Path | None = Field(
        None, description="folder of LibriSpeech whose transcripts are joined; None: no texts"
    )
    text: TextRule = "upper"
    make_from: LibriMixSources | None = Field(None, description="None: it is there already")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_length(self.length, self.transcripts)
        return self

    @property
    def speakers(self) -> int:
        """In every mixture."""
        return 1 if self.content == "single" else self.talkers


def read(config: LibriMix, split: Split, sample_rate: int, skip_bad: bool) -> list[Mixture]:
    """The mixtures of a split's subsets, ordered by name.

    Raises:
        SepasrError: for a folder that is not there, and for every mismatch of the files.
    """
    texts = librispeech.transcripts(config.transcripts) if config.transcripts else None
    problems = Problems()
    found = []
    for subset in config.subsets.get(split, ()):
        base = config.path / rate_folder(sample_rate) / config.length / subset
        folder(base, config.kind, "the folder Libri2Mix or Libri3Mix with this below it")
        places: list[dict[Reference, Path]] = [
            {"direct": base / f"s{number}", "early": base / f"s{number}", "image": base / f"s{number}"}
            for number in range(1, config.speakers + 1)
        ]
        noise = None if config.content == "clean" else "noise"
        for place in (f"mix_{config.content}", noise, *(path.name for one in places for path in one.values())):
            if place is not None:
                folder(base / place, config.kind, f"the files of {config.content}")
        for audio, files, noise_file in audio_of(base, f"mix_{config.content}", places, noise, problems):
            utterances = audio.stem.split("_")
            if len(utterances) != config.talkers:
                problems.add("with a name that tells no utterances", str(audio))
                continue
            sources = tuple(
                FoundSource(name, name.partition("-")[0], one, transcripts_of(texts, config.text, name))
                for name, one in zip(utterances[: len(files)], files, strict=True)
            )
            found.append(Found(audio.stem, audio, sources, noise_file))
    return admit(
        found,
        config,
        split,
        ", ".join(config.subsets.get(split, ())),
        sample_rate=sample_rate,
        with_text=texts is not None,
        skip_bad=skip_bad,
        problems=problems,
    )
