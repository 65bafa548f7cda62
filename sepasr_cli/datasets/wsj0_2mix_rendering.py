"""Makes wsj0-2mix from its lists, as it is mixed or in rooms.

<lists>/mix_2_spk_{tr,cv,tt}.txt    wsj0/si_tr_s/01t/01to030v.wav 0.47 wsj0/si_tr_s/20g/20ga010m.wav -0.47

Mixing: each utterance at 0 dB of active level, measured at 8 kHz, times its level in dB; cut to the shorter one or
padded to the longer one; all scaled to a peak of 0.9 and rounded to 16 bits. With WHAM!'s metadata the gains that the
published set has are taken instead of measured.

Rooms: one for each mixture, drawn from the seed and its name as `simulation` of the recipe says, first without any
reverberation, then with it. What sounds at the microphones is as long as the dry mixture, and one factor for all files
of a mixture gives the peak of 0.9.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.corpora import wsj0
from sepasr_cli.corpora.corpus import lines
from sepasr_cli.datasets.dataset import WSJ_SPLITS
from sepasr_cli.datasets.making import Job, Plan, below_root, file_name, fit, quantise, read_mono
from sepasr_cli.datasets.object_arrays import read_npz
from sepasr_cli.datasets.speech_level import active_level
from sepasr_cli.datasets.wsj0_2mix import FOLDERS, WSJ0Mix, rate_folder
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.manifest import Room, Split
from sepasr_cli.randomness import generator
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.simulation.responses import responses
from sepasr_cli.simulation.sampling import draw_room

PEAK = 0.9


@dataclass(frozen=True)
class WSJ0MixJob(Job):
    """One mixture. `gains` are factors on the samples; without them `levels` in dB are set by the active level."""

    wsj0: Path
    utterances: tuple[str, str]
    levels: tuple[float, float]
    gains: tuple[float, float] | None
    #: Folder above mix, s1 and s2 of the dry mixture, or of the anechoic and the reverberant one.
    folders: tuple[Path, ...]
    room: Room | None

    def outputs(self) -> list[Path]:
        """The files that are made."""
        return [folder / part / self.name for folder in self.folders for part in ("mix", "s1", "s2")]

    def render(self) -> dict[Path, Audio]:
        """The signals of these files.

        Raises:
            SepasrError: where an utterance is missing or silent.
        """
        dry = self._dry()
        if self.room is None:
            images = [dry[:, None]]
        else:
            room = responses(self.room, self.sample_rate)
            images = [
                fftconvolve(dry[:, None], part, axes=-1)[..., : dry.shape[-1]] for part in (room.direct, room.image)
            ]
        mixtures = [one.sum(axis=0) for one in images]
        if self.room is not None or self.gains is None:
            peak = max(float(np.abs(one).max()) for one in [*mixtures, *images])
            images, mixtures = ([one * (PEAK / peak) for one in each] for each in (images, mixtures))
        signals = [part for mixture, (s1, s2) in zip(mixtures, images, strict=True) for part in (mixture, s1, s2)]
        return {path: quantise(signal) for path, signal in zip(self.outputs(), signals, strict=True)}

    def _dry(self) -> Audio:
        """Both utterances at their levels, (2, N)."""
        paths = [wsj0.audio_file(self.wsj0, name) for name in self.utterances]
        speech = [read_mono(path) for path in paths]
        at_8k = [audio.resample(one, 16000, 8000) for one in speech]
        gains = self.gains or tuple(
            10 ** (level / 20) / math.sqrt(_level(one, path))
            for level, one, path in zip(self.levels, at_8k, paths, strict=True)
        )
        chosen = at_8k if self.sample_rate == 8000 else speech
        lengths = [len(one) for one in chosen]
        length = min(lengths) if self.length == "min" else max(lengths)
        return np.stack([fit(one * np.float32(gain), length) for one, gain in zip(chosen, gains, strict=True)])


def _level(speech: Audio, path: Path) -> float:
    try:
        return active_level(speech, 8000)
    except SepasrError as error:
        raise SepasrError(f"{path}: {error}; leave this mixture out of the list") from None


def plan(config: WSJ0Mix, split: Split, sample_rate: int, seed: int, simulation: SimulationConfig) -> Plan:
    """What there is to make of a split.

    Raises:
        SepasrError: for a list or metadata that are missing or broken, or an array that has not 8 microphones.
    """
    source = config.make_from
    assert source is not None
    name = WSJ_SPLITS[split]
    rooms = config.rooms(split)
    spatial = "none" not in rooms
    if spatial and (simulation.microphones, simulation.speakers) != (8, 2):
        raise SepasrError(
            f"dataset {config.kind}: rooms are drawn as simulation says, for {simulation.speakers} speakers and "
            f"{simulation.microphones} microphones; set simulation.array.microphones to 8, simulation.speakers to 2"
        )
    below = Path(rate_folder(sample_rate)) / config.length / name
    folders = tuple(
        config.path / f"2speakers{FOLDERS[room]}" / below
        for room in (("anechoic", "reverberant") if spatial else ("none",))
    )
    table = source.lists / f"mix_2_spk_{name}.txt"
    gains: dict[str, tuple[float, float]] = {}
    if source.scaling is not None:
        gains = _published_gains(source.scaling / f"scaling_{name}.npz", sample_rate, config.length)
    jobs: list[Job] = []
    for number, line in lines(table):
        origin = f"{table}:{number}"
        parts = line.split()
        try:
            first, second = float(parts[1]), float(parts[3])
            if len(parts) != 4 or not (math.isfinite(first) and math.isfinite(second)):
                raise ValueError(line)
        except (ValueError, IndexError):
            raise SepasrError(f"{origin}: found '{line[:60]}', expected path, level, path, level") from None
        file = file_name(f"{Path(parts[0]).stem}_{_number(first)}_{Path(parts[2]).stem}_{_number(second)}.wav", origin)
        if source.scaling and file not in gains:
            raise SepasrError(f"{origin}: '{file}' has no gains in {source.scaling}; leave make_from.scaling out")
        room = draw_room(simulation, generator(seed, "wsj0_2mix", name, file)) if spatial else None
        for path in (parts[0], parts[2]):
            below_root(source.wsj0, path, origin)
        jobs.append(
            WSJ0MixJob(
                file,
                sample_rate,
                config.length,
                source.wsj0,
                (parts[0], parts[2]),
                (first, second),
                gains.get(file),
                folders,
                room,
            )
        )
    made_from = {
        "list": fingerprint(table),
        "gains": fingerprint(sorted(gains.items())) if gains else "active level by ITU-T P.56",
        "rooms": fingerprint(seed, _room_settings(simulation)) if spatial else "none",
    }
    return Plan(f"{config.kind} {name}", folders, made_from, jobs)


def _room_settings(simulation: SimulationConfig) -> dict[str, object]:
    names = {"room", "array", "distance", "source_height", "min_angle", "wall_clearance"}
    return simulation.model_dump(mode="json", include=names)


def _published_gains(path: Path, sample_rate: int, length: str) -> dict[str, tuple[float, float]]:
    arrays = read_npz(path)
    key = f"scaling_wsjmix_{sample_rate // 1000}k_{length}"
    try:
        return {
            str(name): (float(pair[0]), float(pair[1]))
            for name, pair in zip(arrays["utterance_id"], arrays[key], strict=True)
        }
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise SepasrError(f"{path}: {type(error).__name__} {error}; expected utterance_id and {key}") from None


def _number(value: float) -> str:
    """A level as MATLAB's num2str writes it into file names: five significant digits, one more from 10 on.

    >>> _number(0.47027), _number(-2.38241), _number(2.0)
    ('0.47027', '-2.3824', '2')
    """
    if value == 0:
        return "0"
    return f"{value:.{max(math.floor(math.log10(abs(value))) + 5, 5)}g}"
