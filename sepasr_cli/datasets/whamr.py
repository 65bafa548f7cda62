"""WHAMR! (Maciejewski et al. 2020; arXiv 1910.10279): wsj0-2mix in rooms, with WHAM!'s noise of real places.

<path>/wav{8k,16k}/{min,max}/{tr,cv,tt}/mix_{both,clean,single}_{anechoic,reverb}/<name of wsj0-2mix>.wav
                                        s1_{anechoic,reverb}/ s2_{anechoic,reverb}/ noise/      2 microphones

both: two speakers and noise; clean: two speakers; single: the first speaker and noise.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sepasr_cli.corpora import wsj0
from sepasr_cli.corpora.text import TextRule
from sepasr_cli.datasets.dataset import (
    ALL_REFERENCES,
    WSJ_SPLITS,
    Dataset,
    Found,
    Problems,
    admit,
    audio_of,
    folder,
)
from sepasr_cli.datasets.wsj0_2mix import PUBLISHED, check_length, rate_folder, utterances_of, wsj_source
from sepasr_cli.manifest import Mixture, Reference, Split
from sepasr_cli.settings import Settings


class WHAMRSources(Settings):
    """What WHAMR! is made from, where it is not there yet."""

    wsj0: Path = Field(description="folder of WSJ0, 16 kHz")
    noise: Path = Field(description="folder of WHAM!'s noise with its metadata")
    tables: Path = Field(description="folder of mix_2_spk_filenames_*.csv and reverb_params_*.csv")
    absorption: Literal["energy", "amplitude"] = Field(
        "energy", description="what Sabine's coefficient is taken for: see docs/datasets.md"
    )


class WHAMR(Dataset):
    """WHAMR!; the reference is the left microphone, 0."""

    kind: Literal["whamr"] = "whamr"
    room: Literal["anechoic", "reverberant"] = "reverberant"
    content: Literal["both", "clean", "single"] = Field(
        "both", description="both: two speakers and noise; clean: without noise; single: one speaker and noise"
    )
    length: Literal["min", "max"] = Field("max", description="min: cut to the shorter utterance, without transcripts")
    transcripts: Path | None = Field(None, description="folder of WSJ0 whose transcripts are joined; None: no texts")
    text: TextRule = "wsj"
    make_from: WHAMRSources | None = Field(None, description="None: it is there already")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_length(self.length, self.transcripts)
        return self

    @property
    def folder_suffix(self) -> str:
        """What folders of this room end in."""
        return "reverb" if self.room == "reverberant" else "anechoic"

    @property
    def speakers(self) -> int:
        """In every mixture."""
        return 1 if self.content == "single" else 2

    @property
    def microphones(self) -> int:
        """Channels of every mixture."""
        return 2

    @property
    def references(self) -> tuple[Reference, ...]:
        """Which references there are: in a reverberant room no early part."""
        return ("direct", "image") if self.room == "reverberant" else ALL_REFERENCES


def read(config: WHAMR, split: Split, sample_rate: int, skip_bad: bool) -> list[Mixture]:
    """The mixtures of a split, ordered by name.

    Raises:
        SepasrError: for a folder that is not there, and for every mismatch of the files.
    """
    texts = wsj0.transcripts(config.transcripts) if config.transcripts else None
    name = WSJ_SPLITS[split]
    base = config.path / rate_folder(sample_rate) / config.length / name
    folder(base, config.kind, "wav8k or wav16k, min or max, then tr, cv, tt")
    suffix = config.folder_suffix
    problems = Problems()
    sources: list[dict[Reference, Path]] = []
    for number in range(1, config.speakers + 1):
        image, direct = base / f"s{number}_{suffix}", base / f"s{number}_anechoic"
        sources.append({"direct": direct, "image": image})
        if config.room == "anechoic":
            sources[-1]["early"] = image
    mixtures = f"mix_{config.content}_{suffix}"
    noise = None if config.content == "clean" else "noise"
    for place in (mixtures, noise, *(path.name for one in sources for path in one.values())):
        if place is not None:
            folder(base / place, config.kind, f"the files of {config.content} in a room that is {config.room}")
    found = []
    for audio, files, noise_file in audio_of(base, mixtures, sources, noise, problems):
        utterances = utterances_of(audio.stem)
        if utterances is None:
            problems.add("with a name that tells no utterances", str(audio))
            continue
        # Of a mixture of one speaker the name still tells two.
        spoken = zip(utterances[: len(files)], files, strict=True)
        found.append(
            Found(audio.stem, audio, tuple(wsj_source(u, f, texts, config.text) for u, f in spoken), noise_file)
        )
    return admit(
        found,
        config,
        split,
        name,
        sample_rate=sample_rate,
        with_text=texts is not None,
        skip_bad=skip_bad,
        problems=problems,
        expected=PUBLISHED[split],
    )
