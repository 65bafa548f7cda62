"""Our image source method against its definition, and against pyroomacoustics."""

import numpy as np
import pyroomacoustics
import pytest
from scipy.signal import butter, sosfiltfilt

from sepasr_cli.simulation.image_method import REACH, Images, impulse_responses

SIZE, SPEAKER, LISTENER, RATE = (5.0, 4.0, 3.0), (1.2, 3.1, 1.6), (3.3, 1.1, 1.2), 16000
KEPT = 0.6


def test_image_sources_are_those_of_mirrored_rooms() -> None:
    images = Images.within(SIZE, SPEAKER, LISTENER, 9.0)
    found = {
        (tuple(np.round(point, 6)), int(order))
        for point, order in zip(
            np.stack([axis[at] for axis, at in zip(images.axes, images.index, strict=True)], -1),
            images.orders,
            strict=True,
        )
    }
    room = pyroomacoustics.ShoeBox(SIZE, fs=RATE, max_order=12)
    room.add_source(SPEAKER)
    room.add_microphone(LISTENER)
    room.image_source_model()
    source = room.sources[0]
    near = np.linalg.norm(source.images.T - LISTENER, axis=1) <= 9.0
    wanted = {
        (tuple(np.round(point, 6)), int(order))
        for point, order in zip(source.images.T[near].astype(float), source.orders[near], strict=True)
    }
    assert len(found) == images.index.shape[1] > 50
    assert sorted(order for _, order in found) == sorted(order for _, order in wanted)
    np.testing.assert_allclose(sorted(p for p, _ in found), sorted(p for p, _ in wanted), atol=1e-4)


def test_each_reflection_is_a_windowed_sinc_at_its_exact_time() -> None:
    """By definition, one reflection after the other; what is below 10 Hz is taken out."""
    images, length, first = Images.within(SIZE, SPEAKER, LISTENER, 12.0), 400, 100
    found = impulse_responses(images, KEPT, [LISTENER], RATE, first, length)[0]
    wanted = np.zeros(length)
    for distance, order in zip(images.distances(LISTENER), images.orders, strict=True):
        place = np.arange(length) - (distance / 343 * RATE - first + REACH)
        window = np.where(np.abs(place) < REACH, np.cos(np.pi * place / (2 * REACH)) ** 2, 0)
        wanted += KEPT ** (order / 2) / distance * np.sinc(place) * window
    wanted = sosfiltfilt(butter(2, 10, "highpass", fs=RATE, output="sos"), wanted)
    assert np.linalg.norm(found - wanted) < 2e-5 * np.linalg.norm(wanted)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_responses_are_those_of_pyroomacoustics(rate: int) -> None:
    """It interpolates its sinc from a table of 20 points a sample, which is the larger part of the difference."""
    microphones = [LISTENER, (3.3, 1.15, 1.2)]
    room = pyroomacoustics.ShoeBox(SIZE, fs=rate, materials=pyroomacoustics.Material(1 - KEPT), max_order=60)
    room.add_source(SPEAKER)
    room.add_microphone_array(np.array(microphones).T)
    room.compute_rir()
    length = round(0.3 * rate)
    images = Images.within(SIZE, SPEAKER, LISTENER, 343 * 0.31 + 1)
    found = impulse_responses(images, KEPT, microphones, rate, 0, length)
    for response, row in zip(found, room.rir, strict=True):
        wanted = row[0][: length - 200]
        assert np.linalg.norm(response[: length - 200] - wanted) < 0.01 * np.linalg.norm(wanted)


def test_a_speaker_alone_has_one_path() -> None:
    images = Images.direct(SPEAKER)
    distance = float(np.linalg.norm(np.subtract(SPEAKER, LISTENER)))
    assert images.distances(LISTENER) == pytest.approx(distance)
    found = impulse_responses(images, 1.0, [LISTENER], RATE, 0, 300)[0]
    assert np.abs(found).argmax() == round(distance / 343 * RATE) + REACH
    assert np.abs(np.fft.rfft(found, 4096)[100:1500]) == pytest.approx(1 / distance, rel=0.02)
