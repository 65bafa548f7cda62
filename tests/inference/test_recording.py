"""Any file is looked through first, then read block by block; what does not fit the model is one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.recording import open_recording, parse_channels
from sepasr_cli.joint import JointModel
from sepasr_cli.separation import MaskMVDR, MaskMVDRConfig, TFGridNet, TFGridNetConfig

RATE = 8000


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, samples.T, rate, subtype=subtype)
    return path


def test_channels_are_chosen_in_the_order_given(tiny_joint: JointModel, talkers: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "m.wav", np.stack([talkers[0], talkers[0] * 0, talkers[1]]), subtype="FLOAT")
    blocks = list(open_recording(path, tiny_joint.separator, [3, 1]).blocks(RATE))
    assert np.array_equal(np.concatenate(blocks, axis=1), talkers[::-1])
    assert parse_channels(" 1, 3") == parse_channels([1, 3]) == [1, 3]
    for wrong in ("", "0", "a", "1-3", []):
        with pytest.raises(SepasrError, match="expected numbers from 1, parted by commas, such as 1,3"):
            parse_channels(wrong)


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        (
            (1, 4000),
            None,
            "m.wav: 1 channel found, the model needs 2; use a model of 1 microphone (--model), "
            "or repeat channels at a loss of quality (--channels 1,1)",
        ),
        ((4, 4000), None, "m.wav: 4 channels found, the model needs 2; choose with --channels, such as --channels 1,2"),
        (
            (4, 4000),
            [1],
            "m.wav: --channels names 1, the model needs 2; name 2 of the file's 4 channels with --channels",
        ),
        ((2, 4000), [1, 5], "m.wav: --channels asks for channel 5, the file has 2, from 1"),
        ((2, 10), None, "m.wav: too short, 10 samples at 8000 Hz found, expected at least 0.1 s"),
        ((2, 4000), None, "m.wav: silent, no sample above 1e-05; expected speech, check the recording"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    tiny_joint: JointModel, tmp_path: Path, shape: tuple[int, int], channels: list[int] | None, message: str
) -> None:
    path = write(tmp_path / "m.wav", np.zeros(shape))
    with pytest.raises(SepasrError) as caught:
        open_recording(path, tiny_joint.separator, channels)
    assert str(caught.value) == f"{tmp_path}/{message}"


@pytest.fixture(scope="module")
def few_or_four() -> TFGridNet:
    """A separator of one to four microphones."""
    sizes: dict[str, Any] = {"fft_size": 64, "hop": 32, "blocks": 1, "embedding": 4, "lstm": 4, "heads": 2}
    return TFGridNet(TFGridNetConfig(sample_rate=RATE, microphones=4, fewer_microphones=True, qk_size=66, **sizes))


@pytest.mark.parametrize(
    ("channels", "silent", "rows", "remarks"),
    [
        (1, (), (0,), []),
        (4, (), (0, 1, 2, 3), []),
        (6, (), (0, 1, 3, 4), ["channels 1, 2, 4, 5 taken of 6, the model takes 1 to 4 (--channels)"]),
        (8, (), (0, 2, 4, 6), ["channels 1, 3, 5, 7 taken of 8, the model takes 1 to 4 (--channels)"]),
        (3, (2,), (0, 2), ["channel 2 silent"]),
        (2, (1,), (1,), ["channel 1 silent, the speakers are estimated at channel 2"]),
        (
            7,
            (1, 4),
            (1, 2, 4, 5),
            [
                "channels 1, 4 silent, the speakers are estimated at channel 2",
                "channels 2, 3, 5, 6 taken of 5, the model takes 1 to 4 (--channels)",
            ],
        ),
        (6, (3, 6), (0, 1, 3, 4), ["channels 3, 6 silent"]),
    ],
)
def test_as_many_channels_as_the_model_takes_of_those_that_hear_something(
    few_or_four: TFGridNet,
    tmp_path: Path,
    channels: int,
    silent: tuple[int, ...],
    rows: tuple[int, ...],
    remarks: list[str],
) -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal((channels, 4000)).astype(np.float32)
    samples[[number - 1 for number in silent]] = 0
    recording = open_recording(write(tmp_path / "m.wav", samples, subtype="FLOAT"), few_or_four)
    assert list(recording.remarks) == remarks
    assert np.array_equal(np.concatenate(list(recording.blocks(RATE)), axis=1), samples[list(rows)])


@pytest.mark.parametrize(
    ("copied", "rows", "remarks"),
    [
        ([0, 0], (0,), ["channel 2 left out, the same as channel 1"]),
        ([0, 1, 0, 0], (0, 1), ["channels 3, 4 left out, the same as channel 1"]),
    ],
)
def test_copies_of_a_channel_are_left_out(
    few_or_four: TFGridNet, tmp_path: Path, copied: list[int], rows: tuple[int, ...], remarks: list[str]
) -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    path = write(tmp_path / "m.wav", samples[copied], subtype="FLOAT")
    recording = open_recording(path, few_or_four)
    assert (recording.rows, list(recording.remarks)) == (rows, remarks)
    assert open_recording(path, few_or_four, [1, len(copied)]).rows in (None, (0, len(copied) - 1))


def test_channels_that_are_named_are_taken_as_they_are(few_or_four: TFGridNet, tmp_path: Path) -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal((6, 4000)).astype(np.float32)
    samples[2] = 0
    path = write(tmp_path / "m.wav", samples, subtype="FLOAT")
    recording = open_recording(path, few_or_four, [6, 3, 1])
    assert recording.remarks == ("channel 3 silent",)
    assert np.array_equal(np.concatenate(list(recording.blocks(RATE)), axis=1), samples[[5, 2, 0]])
    with pytest.raises(SepasrError, match=r"--channels names 5, the model needs 1 to 4; name 1 to 4 of the file's 6"):
        open_recording(path, few_or_four, [1, 2, 4, 5, 6])
    with pytest.raises(SepasrError, match=r"channel 3 is silent, at which the model estimates the speakers; choose"):
        open_recording(path, few_or_four, [3, 1])


def test_mvdr_takes_more_microphones_but_needs_its_reference(tmp_path: Path) -> None:
    config = MaskMVDRConfig(
        sample_rate=RATE, microphones=2, reference_microphone=1, fft_size=64, hop=16, layers=1, lstm=4, projection=4
    )
    noise = 0.1 * np.random.default_rng(0).standard_normal((3, 4000))
    assert open_recording(write(tmp_path / "m.wav", noise), MaskMVDR(config)).samples == 4000
    with pytest.raises(SepasrError, match=r"1 channel found, the model needs at least 2; use a model of 1 microphone"):
        open_recording(write(tmp_path / "mono.wav", noise[:1]), MaskMVDR(config))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64", "rf64"])
def test_any_format_is_read_block_by_block(tmp_path: Path, tiny_separator: TFGridNet, ending: str) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal((2, 300_000)).astype(np.float32)
    path = write(tmp_path / f"m.{ending}", sound, 44100)
    recording = open_recording(path, tiny_separator)
    assert (recording.samples, recording.sample_rate) == (300_000, 44100)
    blocks = list(recording.blocks(RATE))
    assert len(blocks) >= 2
    whole = audio.resample(audio.read(path)[0], 44100, RATE)
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)


def test_what_is_wrong_late_is_told_before_any_work(tmp_path: Path, tiny_separator: TFGridNet) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal((2, 400_000)).astype(np.float32)
    sound[1, 390_000] = np.nan
    with pytest.raises(SepasrError, match="holds NaN or infinite samples; write the file again from its source"):
        open_recording(write(tmp_path / "m.wav", sound, subtype="FLOAT"), tiny_separator)
