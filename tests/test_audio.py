"""Audio in and out: what is written is read, and what cannot be read is one line."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError

RATE = 8000


@pytest.fixture
def sound() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (3, 1000)).astype(np.float32)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.WAV"])
def test_round_trip(tmp_path: Path, sound: np.ndarray, name: str) -> None:
    audio.write(tmp_path / name, sound, RATE)
    samples, rate = audio.read(tmp_path / name)
    assert (samples.dtype, samples.shape, rate) == (np.float32, (3, 1000), RATE)
    assert samples.flags.c_contiguous
    np.testing.assert_allclose(samples, sound, atol=1 / 32768)
    assert audio.info(tmp_path / name) == audio.AudioInfo(RATE, 3, 1000)
    assert audio.info(tmp_path / name).duration == 0.125


def test_a_subtype_may_be_chosen_and_one_channel_needs_no_axis(tmp_path: Path, sound: np.ndarray) -> None:
    audio.write(tmp_path / "a.wav", 3 * sound[0].astype(np.float64), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav")[0], 3 * sound[:1])


def test_full_scale_is_kept_both_ways(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.wav", np.array([[1.0, -1.0, 0.0]]), RATE)
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav")[0], [[1, -1, 0]], atol=1 / 16384)


def test_nist_sphere(tmp_path: Path) -> None:
    """AN4 and WSJ0 come as SPHERE: a header of 1024 bytes of text, then samples."""
    samples = np.array([0, 16384, -32768, 1], ">i2")
    fields = (
        "NIST_1A\n   1024\ndatabase_id -s3 an4\nchannel_count -i 1\nsample_count -i 4\nsample_rate -i 16000\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 10\nsample_sig_bits -i 16\nsample_coding -s3 pcm\nend_head\n"
    )
    path = tmp_path / "a.sph"
    path.write_bytes(fields.encode().ljust(1024) + samples.tobytes())
    found, rate = audio.read(path)
    assert rate == 16000
    np.testing.assert_allclose(found, [[0, 0.5, -1, 1 / 32768]])


def test_a_part_is_what_lies_between_two_times(tmp_path: Path, sound: np.ndarray) -> None:
    audio.write(tmp_path / "a.wav", sound, RATE)
    whole, _ = audio.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav", 0.05, 0.1)[0], whole[:, 400:800])
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav", 0.05)[0], whole[:, 400:])
    for start, end in ((0.1, 0.05), (0.1, 0.2), (-0.1, 0.1), (0.2, None)):
        with pytest.raises(SepasrError, match=r"s asked for, the file has 0\.125 s; check the times"):
            audio.read(tmp_path / "a.wav", start, end)


def _missing(path: Path) -> None:
    pass


def _folder(path: Path) -> None:
    path.mkdir()


def _empty(path: Path) -> None:
    path.touch()


def _text(path: Path) -> None:
    path.write_text("this is no audio at all, only words " * 10)


def _cut(path: Path) -> None:
    soundfile.write(path, np.zeros(1000), RATE)
    path.write_bytes(path.read_bytes()[:1500])


def _no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


def _nan(path: Path) -> None:
    soundfile.write(path, np.array([0.0, np.nan]), RATE, subtype="FLOAT")


def _cut_flac(path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 20000), RATE, format="FLAC")
    path.write_bytes(path.read_bytes()[:20000])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (_missing, "no such file; check the path"),
        (_folder, "no such file; check the path"),
        (_empty, "the file is empty; expected audio"),
        (_text, "not an audio file that can be read; expected WAV, FLAC, OGG, MP3 or NIST SPHERE"),
        (_cut, "truncated, 1500 bytes found where 2044 were announced; copy it again"),
        (_no_samples, "holds no samples; expected audio"),
        (_nan, "holds NaN or infinite samples; write the file again from its source"),
        (_cut_flac, "the audio is damaged or truncated; copy the file again"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, make, line: str) -> None:
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(SepasrError) as caught:
        audio.read(path)
    assert str(caught.value) == f"{path}: {line}"


def test_a_size_that_the_writer_could_not_know_is_no_truncation(tmp_path: Path) -> None:
    """Streams, such as ffmpeg's through a pipe, leave the largest size there is in the header."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(1000, 0.5), RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    assert audio.read(path)[0].shape == (1, 1000)


@pytest.mark.parametrize(
    ("samples", "line"),
    [
        ([0.0, 1.5], "a peak of 1.500 would clip; scale the audio to at most 1 before writing"),
        ([0.0, np.nan], "refused to write NaN or infinite samples"),
        ([0.0, np.inf], "refused to write NaN or infinite samples"),
    ],
)
def test_what_is_not_written(tmp_path: Path, samples: list[float], line: str) -> None:
    path = tmp_path / "a.wav"
    audio.write(path, np.zeros((1, 10)), RATE)
    old = path.read_bytes()
    with pytest.raises(SepasrError) as caught:
        audio.write(path, np.array([samples]), RATE)
    assert str(caught.value) == f"{path}: {line}"
    assert path.read_bytes() == old and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.mp3"])
def test_a_format_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(SepasrError, match=f"{name}: cannot be written: "):
        audio.write(tmp_path / name, np.zeros((1, 10)), RATE, subtype="PCM_16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("rate", "wanted"), [(16000, 8000), (8000, 16000), (44100, 16000), (22050, 8000), (100, 90)])
def test_resampling_gives_the_length_promised_and_the_same_tone(rate: int, wanted: int) -> None:
    frames = 3 * rate // 2 + 1
    tone = np.sin(2 * np.pi * 0.01 * rate * np.arange(frames) / rate)
    found = audio.resample(np.stack([tone, -tone]), rate, wanted)
    assert found.dtype == np.float32 and found.shape == (2, -(-frames * wanted // rate))
    expected = np.sin(2 * np.pi * 0.01 * rate * np.arange(found.shape[1]) / wanted)
    middle = slice(found.shape[1] // 4, -found.shape[1] // 4)
    np.testing.assert_allclose(found[0, middle], expected[middle], atol=0.02)


def test_one_rate_needs_no_resampling(sound: np.ndarray) -> None:
    np.testing.assert_array_equal(audio.resample(sound, RATE, RATE), sound)


def test_find(tmp_path: Path) -> None:
    for name in ("b.wav", "a/z.FLAC", "a/.hidden.wav", ".git/x.wav", "a/notes.txt", "a.mp3", "c.sph"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in audio.find(tmp_path)]
    assert found == ["a/z.FLAC", "a.mp3", "b.wav", "c.sph"]
    # A hidden folder above the one that is searched hides nothing.
    assert [path.name for path in audio.find(tmp_path / ".git")] == ["x.wav"]
    assert os.fspath(audio.find(tmp_path)[0]).startswith(os.fspath(tmp_path))


def test_channel() -> None:
    sound = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert audio.channel(sound, 1).tolist() == [3, 4, 5]
    assert audio.channel(sound[:1], 1).tolist() == [0, 1, 2]


def test_blocks_are_the_whole(tmp_path: Path, sound: np.ndarray) -> None:
    audio.write(tmp_path / "a.flac", sound, RATE)
    found = list(audio.blocks(tmp_path / "a.flac", 300))
    assert [block.shape for block in found] == [(3, 300)] * 3 + [(3, 100)]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), audio.read(tmp_path / "a.flac")[0])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (_missing, "no such file; check the path"),
        (_no_samples, "holds no samples; expected audio"),
        (_nan, "holds NaN or infinite samples; write the file again from its source"),
        (_cut_flac, "the audio is damaged or truncated; copy the file again"),
    ],
)
def test_blocks_that_cannot_be_read_are_one_line(tmp_path: Path, make, line: str) -> None:
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(SepasrError) as caught:
        list(audio.blocks(path, 1000))
    assert str(caught.value) == f"{path}: {line}"


@pytest.mark.parametrize(
    ("rate", "wanted"), [(16000, 8000), (8000, 16000), (44100, 16000), (16000, 44100), (11025, 8000)]
)
@pytest.mark.parametrize("size", [1, 300, 20_000])
def test_resampled_pieces_are_those_of_the_whole(rate: int, wanted: int, size: int) -> None:
    draw = np.random.default_rng(size)
    whole = draw.standard_normal((2, size)).astype(np.float32)
    pieces = np.split(whole, np.sort(draw.integers(0, size + 1, 6)), axis=1)
    found = np.concatenate(list(audio.resampled(pieces, rate, wanted)), axis=1)
    np.testing.assert_array_equal(found, audio.resample(whole, rate, wanted))


def test_blocks_are_written_whole_or_not_at_all(tmp_path: Path, sound: np.ndarray) -> None:
    audio.write_blocks(tmp_path / "a.wav", np.split(sound, [100, 900], axis=1), RATE)
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav")[0], sound, atol=1 / 32768)
    with pytest.raises(SepasrError, match="refused to write NaN or infinite samples"):
        audio.write_blocks(tmp_path / "b.wav", [sound, sound * np.nan], RATE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
