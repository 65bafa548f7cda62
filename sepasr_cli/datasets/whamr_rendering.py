"""Makes WHAMR! from WSJ0, WHAM!'s noise and the published tables, with pyroomacoustics of today.

<tables>/mix_2_spk_filenames_{tr,cv,tt}.csv    output_filename, s1_path, s2_path
<tables>/reverb_params_{tr,cv,tt}.csv          utterance_id, room_x, ..., micL_x, ..., s1_x, ..., s2_x, ..., T60
<noise>/{tr,cv,tt}/<output_filename>           stereo, 16 kHz
<noise>/metadata/scaling_{tr,cv,tt}.npz        gains, and where the speech starts

Rooms are rendered at 16 kHz by the image source method, and the result brought to 8 kHz. The two utterances sound in
the room as they were recorded; then each is scaled so that its anechoic image at the left microphone has the energy
that WHAM! gives the utterance, and its reverberant image by the same factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.signal import fftconvolve

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.corpora import wsj0
from sepasr_cli.datasets.dataset import WSJ_SPLITS
from sepasr_cli.datasets.making import Job, Plan, below_root, file_name, fit, numbers, quantise, read_csv, read_mono
from sepasr_cli.datasets.object_arrays import read_npz
from sepasr_cli.datasets.whamr import WHAMR
from sepasr_cli.datasets.wsj0_2mix import rate_folder
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.manifest import Room, Split
from sepasr_cli.simulation.config import SPEED_OF_SOUND

#: Rooms are rendered at this rate.
RATE = 16000

ROOM_COLUMNS = (
    *("room_x", "room_y", "room_z", "micL_x", "micL_y", "micR_x", "micR_y", "mic_z"),
    *("s1_x", "s1_y", "s1_z", "s2_x", "s2_y", "s2_z", "T60"),
)


@dataclass(frozen=True)
class WHAMRJob(Job):
    """One mixture of WHAMR!: of its kinds the one that is asked for, and what belongs to it."""

    content: str
    #: anechoic or reverb.
    kind: str
    #: Folder of the split.
    folder: Path
    wsj0: Path
    utterances: tuple[str, str]
    noise: Path
    room: Room
    #: Of each utterance; of the speech; of the noise.
    gains: tuple[float, float]
    speech_gain: float
    noise_gain: float
    #: Where the speech starts in the noise, in samples at 16 kHz.
    start: int
    #: What the amplitude is multiplied with at a wall.
    reflection: float

    subtype: ClassVar[str] = "FLOAT"

    def outputs(self) -> list[Path]:
        """The files that are made; anechoic sources are the targets of reverberant mixtures too."""
        names = [f"mix_{self.content}_{self.kind}", "s1_anechoic", "s2_anechoic", "noise"]
        names += ["s1_reverb", "s2_reverb"] if self.kind == "reverb" else []
        return [self.folder / name / self.name for name in names]

    def render(self) -> dict[Path, Audio]:
        """The signals of these files, (2, N).

        Raises:
            SepasrError: where an utterance or the noise is missing or unusable.
        """
        recorded = [read_mono(wsj0.audio_file(self.wsj0, name)) for name in self.utterances]
        speech = [quantise(one) for one in recorded]
        found, rate = audio.read(self.noise)
        if rate != RATE or len(found) != 2:
            raise SepasrError(f"{self.noise}: {len(found)} channels at {rate} Hz found, expected 2 at {RATE} Hz")
        noise = self._at_rate(found) * np.float32(self.noise_gain)
        # As long as the noise, so that the tails of the room fit.
        length = max(found.shape[1], *(len(one) for one in speech))
        dry = np.stack([fit(one, length) for one in speech])
        rooms = dict.fromkeys(("anechoic", self.kind))
        images = {room: self._at_rate(self._in_room(dry, room)) for room in rooms}

        levelled = [
            quantise(self._at_rate(one) * np.float32(gain)) * np.float32(self.speech_gain)
            for one, gain in zip(recorded, self.gains, strict=True)
        ]
        wanted = [np.sum(np.square(one, dtype=np.float64)) for one in levelled]
        there = np.sum(np.square(images["anechoic"][:, 0], dtype=np.float64), axis=-1)
        if not (there > 0).all():
            raise SepasrError(f"{self.utterances[0]} or {self.utterances[1]} is silent")
        scale = np.sqrt(wanted / there).astype(np.float32)[:, None, None]
        start = self.start * self.sample_rate // RATE
        if self.length == "min":
            shorter = min(len(one) for one in levelled)
            noise = fit(noise[:, start:], shorter)
            sources = {room: fit(image * scale, shorter) for room, image in images.items()}
        else:
            total = noise.shape[1]
            sources = {
                room: fit(np.pad(image * scale, ((0, 0), (0, 0), (start, 0))), total) for room, image in images.items()
            }
        signals = {"noise": noise}
        for room, (s1, s2) in sources.items():
            mixtures = {"both": s1 + s2 + noise, "clean": s1 + s2, "single": s1 + noise}
            signals |= {f"s1_{room}": s1, f"s2_{room}": s2, f"mix_{self.content}_{room}": mixtures[self.content]}
        return {path: signals[path.parent.name] for path in self.outputs()}

    def _at_rate(self, samples: Audio) -> Audio:
        return audio.resample(samples, RATE, self.sample_rate)

    def _in_room(self, dry: Audio, room: str) -> Audio:
        """Both utterances (2, N) as each sounds at the microphones, (2, M, N')."""
        assert self.room.t60 is not None
        order = 0 if room == "anechoic" else math.ceil(self.room.t60 * SPEED_OF_SOUND / min(self.room.size))
        heard = room_responses(self.room, order, self.reflection, math.ceil(self.room.t60 * RATE))
        return fftconvolve(dry[:, None], heard, axes=-1).astype(np.float32)


def room_responses(room: Room, order: int, reflection: float, length: int) -> Audio:
    """The responses (S, M, K) at 16 kHz that pyroomacoustics gives, with up to `order` reflections, cut to a length.

    They begin with the 40 samples by which its interpolation leads. On one thread: the order in which several add up
    would show in the last bits. Without its high-pass, which came after WHAMR!.
    """
    import pyroomacoustics

    wanted = {"num_threads": 1, "rir_hpf_enable": False, "c": SPEED_OF_SOUND}
    before = {name: pyroomacoustics.constants.get(name) for name in wanted}
    for name, value in wanted.items():
        pyroomacoustics.constants.set(name, value)
    try:
        shoebox = pyroomacoustics.ShoeBox(room.size, fs=RATE, max_order=order)
        for position in room.sources:
            shoebox.add_source(position)
        shoebox.add_microphone_array(np.array(room.microphones).T)
        shoebox.image_source_model()
        for source in shoebox.sources:
            source.damping = (reflection**source.orders)[None]
        shoebox.compute_rir()
    finally:
        for name, value in before.items():
            pyroomacoustics.constants.set(name, value)
    found = [[shoebox.rir[m][s] for m in range(len(room.microphones))] for s in range(len(room.sources))]
    return np.array([[fit(one[:length], length) for one in row] for row in found], np.float32)


def plan(config: WHAMR, split: Split, sample_rate: int) -> Plan:
    """What there is to make of a split.

    Raises:
        SepasrError: for tables or metadata that are missing, broken or of other utterances, and files that are missing.
    """
    source = config.make_from
    assert source is not None
    name = WSJ_SPLITS[split]
    folder = config.path / rate_folder(sample_rate) / config.length / name
    files, rooms = source.tables / f"mix_2_spk_filenames_{name}.csv", source.tables / f"reverb_params_{name}.csv"
    spoken = read_csv(files, ("output_filename", "s1_path", "s2_path"), "output_filename")
    places = read_csv(rooms, ("utterance_id", *ROOM_COLUMNS), "utterance_id")
    scaling = source.noise / "metadata" / f"scaling_{name}.npz"
    levels = _levels(scaling, f"{sample_rate // 1000}k_{config.length}")
    jobs: list[Job] = []
    for file, row in spoken.items():
        file_name(file, str(files))
        for there, table in ((places, rooms), (levels, scaling)):
            if file not in there:
                raise SepasrError(f"{table}: has nothing on '{file}' of {files}; take all tables from one release")
        gains, speech_gain, noise_gain, start = levels[file]
        values = numbers(places[file], ROOM_COLUMNS, f"{rooms}, '{file}'")
        room, reflection = _room(values, source.absorption, f"{rooms}, '{file}'")
        for column in ("s1_path", "s2_path"):
            below_root(source.wsj0, row[column], f"{files}, '{file}'")
        jobs.append(
            WHAMRJob(
                file,
                sample_rate,
                config.length,
                config.content,
                config.folder_suffix,
                folder,
                source.wsj0,
                (row["s1_path"], row["s2_path"]),
                source.noise / name / file,
                room,
                gains,
                speech_gain,
                noise_gain,
                start,
                reflection,
            )
        )
    made_from = {"tables": fingerprint(files, rooms, scaling), "absorption": source.absorption}
    return Plan(f"{config.kind} {name}", (folder,), made_from, jobs)


def _room(values: Sequence[float], absorption: str, origin: str) -> tuple[Room, float]:
    """A row of the table: the room, and its walls' reflection from Sabine's formula."""
    x, y, z, left_x, left_y, right_x, right_y, mic_z, x1, y1, z1, x2, y2, z2, t60 = values
    inside = [(left_x, left_y, mic_z), (right_x, right_y, mic_z), (x1, y1, z1), (x2, y2, z2)]
    if t60 <= 0 or any(not 0 < here < size for place in inside for here, size in zip(place, (x, y, z), strict=True)):
        raise SepasrError(f"{origin}: no possible room; expected T60 above 0, and everybody within the walls")
    surface = 2 * (x * y + x * z + y * z)
    absorbed = 24 * x * y * z * math.log(10) / (SPEED_OF_SOUND * surface * t60)
    # More than all cannot be absorbed, though the formula gives that for short times in large rooms.
    reflection = math.sqrt(1 - min(absorbed, 1.0)) if absorption == "energy" else 1 - absorbed
    return Room(size=(x, y, z), t60=t60, microphones=tuple(inside[:2]), sources=tuple(inside[2:])), reflection


def _levels(path: Path, key: str) -> dict[str, tuple[tuple[float, float], float, float, int]]:
    """Of each utterance: two gains, the gain of the speech, that of the noise, and where the speech starts."""
    arrays = read_npz(path)
    names = ["utterance_id", "speech_start_sample_16k"]
    names += [f"scaling_{part}_{key}" for part in ("wsjmix", "wham_speech", "wham_noise")]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise SepasrError(f"{path}: holds no {missing[0]}; expected the metadata of WHAM!'s noise")
    try:
        found = {
            str(one): ((float(pair[0]), float(pair[1])), float(speech), float(noise), int(start))
            for one, start, pair, speech, noise in zip(*(arrays[name] for name in names), strict=True)
        }
    except (ValueError, TypeError, IndexError) as error:
        raise SepasrError(f"{path}: damaged ({error}); copy it again") from None
    for name, (pair, speech, noise, start) in found.items():
        if not all(map(math.isfinite, (*pair, speech, noise))) or start < 0:
            raise SepasrError(f"{path}: '{name}' has gains or a start that are no numbers; copy it again")
    return found
