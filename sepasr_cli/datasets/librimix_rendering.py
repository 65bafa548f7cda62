"""Makes LibriMix from LibriSpeech, WHAM!'s noise and the published metadata.

<tables>/libri2mix_{train-clean-100,train-clean-360,dev-clean,test-clean}.csv
    mixture_ID, source_1_path, source_1_gain, source_2_path, source_2_gain, noise_path, noise_gain

Each utterance times its gain, the noise cut or, with a cross-fade of its end into its beginning, prolonged to the
longest of them; brought to 8 kHz where asked for; cut to the shortest or padded to the longest; added.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.datasets.librimix import LibriMix
from sepasr_cli.datasets.making import Job, Plan, below_root, file_name, fit, numbers, read_csv, read_mono
from sepasr_cli.datasets.wsj0_2mix import rate_folder
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.manifest import Split

#: Samples of the noise's cross-fade into itself: half a second.
FADE = 8000


@dataclass(frozen=True)
class LibriMixJob(Job):
    """One mixture of LibriMix."""

    content: str
    folder: Path
    utterances: tuple[Path, ...]
    gains: tuple[float, ...]
    noise: Path | None
    noise_gain: float

    def outputs(self) -> list[Path]:
        """The files that are made."""
        names = [f"mix_{self.content}", *(f"s{number + 1}" for number in range(len(self.utterances)))]
        return [self.folder / name / self.name for name in [*names, *(["noise"] if self.noise else [])]]

    def render(self) -> dict[Path, Audio]:
        """The signals of these files, (N,).

        Raises:
            SepasrError: where an utterance or the noise is missing or unusable.
        """
        speech = [read_mono(path) for path in self.utterances]
        parts = [one * np.float32(gain) for one, gain in zip(speech, self.gains, strict=True)]
        if self.noise is not None:
            parts.append(prolonged(_noise(self.noise), max(map(len, speech))) * np.float32(self.noise_gain))
        parts = [audio.resample(one, 16000, self.sample_rate) for one in parts]
        length = min(map(len, parts)) if self.length == "min" else max(map(len, parts))
        parts = [fit(one, length) for one in parts]
        mixed = [parts[0], parts[-1]] if self.content == "single" else parts
        signals = [np.sum(mixed, axis=0), *parts]
        # As any writer of 16 bits does.
        return {path: np.clip(signal, -1, 1) for path, signal in zip(self.outputs(), signals, strict=True)}


def prolonged(noise: Audio, length: int) -> Audio:
    """Noise (N,) cut to `length`, or made longer by itself with a cross-fade of half a second."""
    result = noise
    if len(noise) < length and len(noise) <= FADE:
        raise SepasrError(f"noise of {len(noise)} samples is too short to be prolonged")
    rise = np.hanning(2 * FADE + 1)[:FADE].astype(np.float32)
    while len(result) < length:
        faded = result[-FADE:] * rise[::-1] + noise[:FADE] * rise
        result = np.concatenate([result[:-FADE], faded, noise[FADE:]])
    return result[:length]


def _noise(path: Path) -> Audio:
    """A recording, or one played at another speed that its name ends in: `..._sp08.wav` is 0.8 times as fast."""
    match = re.fullmatch(r"(.+)_sp(\d)(\d)", path.stem)
    if match is None or path.is_file():
        return read_mono(path)
    speed = int(match[2]) * 10 + int(match[3])
    return audio.resample(read_mono(path.with_name(match[1] + path.suffix)), speed, 10)


def plans(config: LibriMix, split: Split, sample_rate: int) -> list[Plan]:
    """What there is to make of a split: one plan for each of its subsets.

    Raises:
        SepasrError: for metadata that are missing or broken, or a path that leads out.
    """
    return [_plan(config, subset, sample_rate) for subset in config.subsets.get(split, ())]


def _plan(config: LibriMix, subset: str, sample_rate: int) -> Plan:
    source = config.make_from
    assert source is not None
    kind, _, hours = subset.partition("-")
    table = source.tables / f"libri{config.talkers}mix_{'-'.join(part for part in (kind, 'clean', hours) if part)}.csv"
    talkers = range(1, config.talkers + 1)
    noisy = config.content != "clean"
    paths = [f"source_{number}_path" for number in talkers] + (["noise_path"] if noisy else [])
    gains = [f"source_{number}_gain" for number in talkers] + (["noise_gain"] if noisy else [])
    if noisy and source.noise is None:
        raise SepasrError(f"dataset {config.kind}: content {config.content} has noise; set dataset.make_from.noise")
    folder = config.path / rate_folder(sample_rate) / config.length / subset
    jobs: list[Job] = []
    for name, row in read_csv(table, ("mixture_ID", *paths, *gains), "mixture_ID").items():
        origin = f"{table}, '{name}'"
        factors = numbers(row, gains, origin)
        utterances = tuple(below_root(source.librispeech, row[column], origin) for column in paths[: config.talkers])
        noise = below_root(source.noise, row["noise_path"], origin) if noisy and source.noise is not None else None
        jobs.append(
            LibriMixJob(
                file_name(f"{name}.wav", origin),
                sample_rate,
                config.length,
                config.content,
                folder,
                utterances,
                tuple(factors[: config.talkers]),
                noise,
                factors[-1] if noisy else 0.0,
            )
        )
    return Plan(f"{config.kind} {subset}", (folder,), {"metadata": fingerprint(table)}, jobs)
