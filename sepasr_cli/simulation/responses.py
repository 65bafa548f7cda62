"""Room responses, simulated or kept in a bank. Letters: S speaker, M microphone, K sample of a response."""

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepasr_cli.audio import Audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic
from sepasr_cli.manifest import BankRoom, Room, read_manifest
from sepasr_cli.simulation.config import SPEED_OF_SOUND
from sepasr_cli.simulation.image_method import REACH, Floats, Images, impulse_responses

#: Seconds after the direct sound that still help to understand speech.
EARLY = 0.05

#: What reading a damaged `.npz` file raises.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Responses:
    """Room responses from each speaker to each microphone, aligned with each other.

    The delay that all have in common is taken off, so that the nearest direct sound peaks after 2.5 ms at 16 kHz.
    """

    #: The direct path alone, (S, M, K').
    direct: Audio
    #: All of the response, (S, M, K); the very same array as `direct` where the room is anechoic.
    image: Audio
    #: Positions in metres, (M, 3).
    microphones: NDArray[np.float64]
    sample_rate: int

    @cached_property
    def early(self) -> Audio:
        """The response up to 50 ms after the direct sound, (S, M, K'')."""
        if self.image is self.direct:
            return self.direct
        last = np.abs(self.direct).argmax(axis=-1) + round(EARLY * self.sample_rate)
        length = min(int(last.max()) + 1, self.image.shape[-1])
        return np.where(np.arange(length) <= last[..., None], self.image[..., :length], np.float32(0))

    def save(self, path: Path, room: Room) -> None:
        """Write to an `.npz` file, with the room they belong to; the bytes depend on these alone."""
        with atomic(path) as temporary:
            np.savez(
                temporary,
                room=np.array(room.model_dump_json()),
                direct=self.direct,
                image=np.zeros(0, np.float32) if self.image is self.direct else self.image,
                microphones=self.microphones,
                sample_rate=np.array(self.sample_rate),
            )

    @classmethod
    def load(cls, path: Path) -> "Responses":
        """Read what `save` wrote.

        Raises:
            SepasrError: where the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                direct, image = stored["direct"], stored["image"]
                microphones, sample_rate = stored["microphones"], int(stored["sample_rate"])
        except FileNotFoundError:
            raise SepasrError(
                f"{path}: no such room responses; run `sepasr simulate` with simulation.response_bank"
            ) from None
        except _DAMAGED as error:
            raise SepasrError(
                f"{path}: damaged room responses ({error}); delete it and run `sepasr simulate` again"
            ) from None
        return cls(direct, image if image.size else direct, microphones, sample_rate)


def saved_for(path: Path, room: Room, sample_rate: int) -> bool:
    """Whether `path` holds the responses of this room at this sample rate."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            same = str(stored["room"]) == room.model_dump_json() and int(stored["sample_rate"]) == sample_rate
            return same and {"direct", "image", "microphones"} <= set(stored.files)
    except _DAMAGED:
        return False


class ResponseBank:
    """Responses of many rooms, of which one is drawn for each mixture made while training."""

    def __init__(self, folder: Path, rooms: list[BankRoom]) -> None:
        self.folder, self.rooms = folder, rooms

    @classmethod
    def open(cls, folder: Path) -> "ResponseBank":
        """The bank that `sepasr simulate` keeps in a run's data folder.

        Raises:
            SepasrError: where there is none.
        """
        path = folder / "responses.jsonl"
        if not path.is_file():
            raise SepasrError(
                f"{path}: no room responses; set simulation.response_bank and run `sepasr simulate` again"
            )
        rooms = read_manifest(path, BankRoom)
        if not rooms:
            raise SepasrError(f"{path}: holds no room; set simulation.response_bank and run `sepasr simulate` again")
        return cls(folder, rooms)

    def draw(self, rng: np.random.Generator) -> Responses:
        """The responses of a room."""
        return Responses.load(self.folder / self.rooms[int(rng.integers(len(self.rooms)))].responses)


def responses(room: Room, sample_rate: int) -> Responses:
    """Simulate a room by the image source method.

    Responses end T60 after the direct sound, where they are 60 dB down.
    """
    positions = np.array(room.sources), np.array(room.microphones)
    delays = np.linalg.norm(positions[0][:, None] - positions[1][None], axis=-1) / SPEED_OF_SOUND * sample_rate
    common = int(delays.min())
    length = int(np.ceil(delays.max())) - common + 2 * REACH + 2
    middle = tuple(positions[1].mean(axis=0).tolist())
    array = float(np.linalg.norm(positions[1] - middle, axis=-1).max())

    def simulate(images: list[Images], kept: float, length: int) -> Audio:
        return np.stack([impulse_responses(one, kept, room.microphones, sample_rate, common, length) for one in images])

    def heard(samples: int) -> list[Images]:
        """Each speaker's image sources that are heard within so many samples of the response."""
        radius = (common + samples + REACH) / sample_rate * SPEED_OF_SOUND + array
        return [Images.within(room.size, speaker, middle, radius) for speaker in room.sources]

    direct = simulate([Images.direct(speaker) for speaker in room.sources], 1.0, length)
    if room.t60 is None:
        return Responses(direct, direct, positions[1], sample_rate)
    length += round(room.t60 * sample_rate)
    images = heard(length)
    kept = reflected_energy([(one.distances(middle), one.orders) for one in images], room.t60)
    return Responses(direct, simulate(images, kept, length), positions[1], sample_rate)


def reflected_energy(images: list[tuple[Floats, NDArray[np.intp]]], t60: float) -> float:
    """The part of its energy that sound keeps at a wall, such that a room decays as asked.

    Sabine's formula errs by up to half for short times. So the decay itself is set: backward integration (Schroeder
    1965) of the energies of all reflections, by their times and orders, falls from -5 to -25 dB in a third of T60.

    Args:
        images: of each speaker's image sources the distances to a listener and the numbers of reflections, (I,).
        t60: in seconds.
    """
    bins, orders = 500, 1 + max(int(order.max()) for _, order in images)
    energy = np.zeros(bins * orders)
    for distance, order in images:
        time = (distance / SPEED_OF_SOUND / t60 * bins).astype(int)
        reflections = (time < bins) & (order > 0)
        cells = time[reflections] * orders + order[reflections]
        energy += np.bincount(cells, weights=distance[reflections] ** -2.0, minlength=bins * orders)
    table = energy.reshape(bins, orders)

    low, high = 1e-4, 0.9999
    for _ in range(30):
        kept = (low + high) / 2
        decay = np.cumsum((table * kept ** np.arange(orders)).sum(axis=1)[::-1])[::-1]
        level = 10 * np.log10(np.maximum(decay / decay[0], 1e-12))
        third = (np.argmax(level < -25) - np.argmax(level < -5)) / bins
        low, high = (kept, high) if third < 1 / 3 else (low, kept)
    return kept
