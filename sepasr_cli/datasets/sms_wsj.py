"""SMS-WSJ (Drude et al. 2019; arXiv 1910.13934): WSJ0 and WSJ1 in simulated rooms, 6 microphones, 8 kHz.

<path>/sms_wsj.json                                          its database: what is said, where, in which files
<path>/observation/<dataset>/<id>.wav                        mixtures
<path>/early/<dataset>/<id>_{0,1}.wav                        the speakers with the first 50 ms of their room
<path>/noise/<dataset>/<id>.wav

The JSON names files where they were made; what follows the folder `observation`, `early` or `noise` is looked for below
<path>, so that a copy of the set is read where it is.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sepasr_cli.corpora.text import TextRule, normalise
from sepasr_cli.datasets.dataset import Dataset, Found, FoundSource, Problems, admit, folder
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Reference, Split

#: The names of the splits, and how many mixtures each has.
SETS: dict[Split, tuple[str, int]] = {
    "train": ("train_si284", 33561),
    "dev": ("cv_dev93", 982),
    "test": ("test_eval92", 1332),
}


class SMSWSJ(Dataset):
    """SMS-WSJ; its texts are in its JSON."""

    kind: Literal["sms_wsj"] = "sms_wsj"
    json_file: str = Field("sms_wsj.json", description="below path")
    microphone: int = Field(0, ge=0, le=5, description="the reference, counted from 0")
    text: TextRule = "wsj"

    @property
    def microphones(self) -> int:
        """Channels of every mixture."""
        return 6

    @property
    def reference_microphone(self) -> int:
        """The channel at which references are taken."""
        return self.microphone

    @property
    def references(self) -> tuple[Reference, ...]:
        """Which references there are."""
        return ("early",)


def read(config: SMSWSJ, split: Split, sample_rate: int, skip_bad: bool) -> list[Mixture]:
    """The mixtures of a split in the order of the JSON.

    Raises:
        SepasrError: for JSON that is no database, and for every mismatch of the files.
    """
    folder(config.path, config.kind, f"the folder that holds {config.json_file}")
    name, expected = SETS[split]
    path = config.path / config.json_file
    try:
        examples = json.loads(path.read_text(encoding="utf-8"))["datasets"][name]
        if not isinstance(examples, dict):
            raise TypeError(f"'{name}' is no set of examples")
    except FileNotFoundError:
        raise SepasrError(f"{path}: no such file; expected SMS-WSJ's database, check dataset.path") from None
    except (OSError, ValueError) as error:
        raise SepasrError(f"{path}: not JSON ({error}); copy it again") from None
    except (KeyError, TypeError) as error:
        raise SepasrError(f"{path}: lacks {error}; expected 'datasets' with {name} in it") from None
    problems = Problems()
    found = []
    for identity, example in examples.items():
        try:
            found.append(_found(identity, example, config, sample_rate))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            problems.add("with a broken record", f"'{identity}' in {path.name}: {type(error).__name__} {error}")
    return admit(
        found,
        config,
        split,
        name,
        sample_rate=sample_rate,
        with_text=True,
        skip_bad=skip_bad,
        problems=problems,
        expected=expected,
    )


def _found(identity: str, example: dict[str, Any], config: SMSWSJ, rate: int) -> Found:
    paths, lengths = example["audio_path"], example["num_samples"]
    # A running number of the room, then the utterances.
    utterances = identity.split("_")[1:]
    sources = []
    for number, speaker in enumerate(example["speaker_id"]):
        files: dict[Reference, Path] = {
            "early": _below(config.path, paths["speech_reverberation_early"][number], "early")
        }
        start = example["offset"][number] / rate
        end = start + lengths["original_source"][number] / rate
        whole = lengths["observation"] / rate
        if not (math.isfinite(end) and 0 <= start < whole):
            raise ValueError(f"starts at {start:g} s of {whole:g} s")
        sources.append(
            FoundSource(
                utterances[number],
                str(speaker),
                files,
                normalise(example["kaldi_transcription"][number], config.text),
                start,
                min(end, whole),
            )
        )
    noise = paths.get("noise_image")
    return Found(
        identity,
        _below(config.path, paths["observation"], "observation"),
        tuple(sources),
        _below(config.path, noise, "noise") if noise else None,
    )


def _below(root: Path, name: str, kind: str) -> Path:
    """Where a file of the JSON is below the set's folder."""
    parts = Path(name).parts
    if kind not in parts or ".." in parts:
        raise ValueError(f"path '{name}' has no folder {kind}")
    last = len(parts) - 1 - parts[::-1].index(kind)
    return root.joinpath(*parts[last:])
