"""Simulated mixtures against pyroomacoustics, room by room: 2 speakers of 6 s, 8 microphones, T60 0.2-0.6 s.

Both use the image source method with the same absorption and reflections; how far the responses differ is reported.
Then mixing on the fly, as in training, from a bank of responses on disk: 50 mixtures a second are promised.
"""

import itertools
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pyroomacoustics
from measure import Row, alternately, parse, report

from sepasr_cli.manifest import BankRoom, Room, write_manifest
from sepasr_cli.randomness import generator
from sepasr_cli.settings import validate
from sepasr_cli.simulation.image_method import Images
from sepasr_cli.simulation.rendering import mix, mix_on_the_fly
from sepasr_cli.simulation.responses import ResponseBank, reflected_energy, responses
from sepasr_cli.simulation.sampling import Placement, SimulationConfig, draw_room

RATE, SECONDS, ROOMS = 16000, 6, 4
CONFIG: SimulationConfig = validate(
    SimulationConfig,
    {
        "array": {"microphones": 8},
        "room": {"size": [[5, 8], [4, 6], [2.5, 3.5]], "t60": [0.2, 0.6]},
        "noise": {"kind": "white", "snr_db": [10, 20]},
    },
    "benchmark",
)


def main() -> None:
    """Measure and print."""
    options = parse(__doc__)
    pyroomacoustics.constants.set("num_threads", options.threads)
    rooms = [draw_room(CONFIG, generator(0, "room", number)) for number in range(ROOMS)]
    signals = [_speech(generator(0, "speech", number), SECONDS) for number in range(2)]
    kept = [_kept(room) for room in rooms]
    seconds = alternately(
        {
            "peer": lambda: [_theirs(room, share, signals) for room, share in zip(rooms, kept, strict=True)],
            "ours": lambda: [_ours(room, signals) for room in rooms],
        },
        options,
    )
    rows = [Row("a mixture, 6 s", seconds["peer"] / ROOMS, seconds["ours"] / ROOMS, 3)]
    rows.append(Row("relative difference of the responses", 0.01, max(map(_difference, rooms, kept)), 1, ""))
    for length in (2, SECONDS):
        spent = _on_the_fly(rooms, length, options)
        rows.append(Row(f"a mixture on the fly, {length} s, 8 microphones", 1 / 50, spent, 1))
    report("simulate", rows)


def _speech(rng: np.random.Generator, seconds: float) -> Any:
    return (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def _kept(room: Room) -> float:
    """The energy kept at a wall with which the room decays as asked; known to the peer beforehand."""
    middle = tuple(np.mean(room.microphones, axis=0).tolist())
    images = [Images.within(room.size, speaker, middle, 343 * (room.t60 or 0)) for speaker in room.sources]
    return reflected_energy([(one.distances(middle), one.orders) for one in images], room.t60 or 0)


def _shoebox(room: Room, kept: float) -> Any:
    material = pyroomacoustics.Material(1 - kept)
    # All images within what sound travels in T60 (pyroomacoustics' inverse_sabine bounds the order so).
    nearest = min(x * y / np.hypot(x, y) for x, y in itertools.combinations(room.size, 2))
    order = int(np.ceil(343 * (room.t60 or 0) / nearest - 1))
    shoebox = pyroomacoustics.ShoeBox(room.size, fs=RATE, materials=material, max_order=order)
    shoebox.add_microphone_array(np.array(room.microphones).T)
    return shoebox


def _theirs(room: Room, kept: float, signals: list[Any]) -> Any:
    shoebox = _shoebox(room, kept)
    for position, signal in zip(room.sources, signals, strict=True):
        shoebox.add_source(position, signal=signal)
    shoebox.simulate()
    return shoebox.mic_array.signals


def _ours(room: Room, signals: list[Any]) -> Any:
    length = len(signals[0])
    placement = Placement((0, 0), (length, length), length)
    return mix(signals, placement, (0.0, 0.0), responses(room, RATE)).mixture


def _difference(room: Room, kept: float) -> float:
    shoebox = _shoebox(room, kept)
    for position in room.sources:
        shoebox.add_source(position)
    shoebox.compute_rir()
    found = responses(room, RATE).image
    delays = np.linalg.norm(np.array(room.sources)[:, None] - np.array(room.microphones)[None], axis=-1) / 343 * RATE
    wanted = np.zeros_like(found)
    for microphone, row in enumerate(shoebox.rir):
        for speaker, response in enumerate(row):
            piece = response[int(delays.min()) :][: found.shape[-1]]
            wanted[speaker, microphone, : len(piece)] = piece
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _on_the_fly(rooms: list[Room], length: float, options: Namespace) -> float:
    """Seconds of one mixture."""
    count = 20
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bank = []
        for number, room in enumerate(rooms):
            bank.append(BankRoom(id=f"{number}", responses=f"{number}.npz", sample_rate=RATE, room=room))
            responses(room, RATE).save(folder / bank[-1].responses, room)
        write_manifest(folder / "responses.jsonl", bank)
        opened = ResponseBank.open(folder)
        signals = [_speech(generator(1, "speech", number), length) for number in range(2)]

        def work() -> None:
            for number in range(count):
                mix_on_the_fly(CONFIG, generator(0, "mixture", number), signals, opened, RATE)

        return alternately({"ours": work}, options)["ours"] / count


if __name__ == "__main__":
    main()
