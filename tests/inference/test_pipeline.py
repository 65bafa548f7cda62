"""Any file becomes one signal or one transcript a speaker, at the file's own rate and length."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.pipeline import SILENT, Pipeline, explain, parse_channels, pieces
from sepasr_cli.joint import JointModel
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.separation import MaskMVDR, MaskMVDRConfig, TFGridNet, TFGridNetConfig

RATE = 8000


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, samples.T, rate, subtype=subtype)
    return path


class Unmixing(TFGridNet):
    """A separator that is right but for level and sign, as one trained with a scale-invariant loss."""

    gains = torch.tensor([-3.0, 0.2])[:, None]

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        first, second = mixture.unbind(1)
        return self.gains * torch.stack([second, first - second], dim=1)


@pytest.fixture
def unmixing() -> Unmixing:
    return Unmixing(TFGridNetConfig(sample_rate=RATE, blocks=1, embedding=4, lstm=4))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_rate_and_length_are_the_files(tmp_path: Path, tiny_joint: JointModel, talkers: np.ndarray, rate: int) -> None:
    pipeline = Pipeline(tiny_joint)
    recording = pipeline.prepare(write(tmp_path / "m.wav", talkers[:, :6001], rate))
    streams = pipeline.separate(recording)
    assert streams.shape == (2, 6001)
    assert streams.dtype == np.float32
    assert recording.duration == 6001 / rate


@pytest.mark.parametrize("window", [20.0, 0.6])
def test_the_sum_explains_the_mixture(tmp_path: Path, unmixing: Unmixing, talkers: np.ndarray, window: float) -> None:
    mixture = np.stack([talkers.sum(0), talkers[0]])
    pipeline = Pipeline(unmixing, window=window, overlap=0.2, batch=2)
    streams = pipeline.separate(pipeline.prepare(write(tmp_path / "m.wav", mixture, subtype="FLOAT")))
    assert np.allclose(streams, talkers, atol=2e-3)
    assert np.abs(streams.sum(0) - mixture[0]).max() < 2e-3


def test_loud_signals_are_made_quieter_together(tmp_path: Path, unmixing: Unmixing) -> None:
    wave = np.sin(np.arange(RATE) / 9).astype(np.float32)
    signals = np.stack([2.0 * wave, -1.5 * np.roll(wave, 14)])
    path = write(tmp_path / "m.wav", np.stack([signals.sum(0), signals[0]]), subtype="FLOAT")
    pipeline = Pipeline(unmixing)
    streams = pipeline.separate(pipeline.prepare(path))
    assert 0.99 < np.abs(streams).max() <= 1
    peaks = np.abs(streams).max(1)
    assert peaks[0] / peaks[1] == pytest.approx(2.0 / 1.5, rel=0.01)


def test_levels_of_degenerate_signals_stay_finite() -> None:
    draw = np.random.default_rng(0)
    mixture = draw.standard_normal(1000).astype(np.float32)
    assert not explain(np.zeros((2, 1000), np.float32), mixture).any()
    same = explain(np.stack([mixture, mixture]), mixture)
    assert np.allclose(same.sum(0), mixture, atol=1e-2)
    faint = explain(np.stack([0.5 * mixture, 1e-7 * draw.standard_normal(1000)]).astype(np.float32), mixture)
    assert np.abs(faint[1]).max() < 1e-5
    assert np.allclose(faint[0], mixture, rtol=2e-3)


def test_a_window_that_is_long_enough_changes_nothing(
    tiny_joint: JointModel, talkers: np.ndarray, tmp_path: Path
) -> None:
    path = write(tmp_path / "m.wav", talkers)
    whole, windowed = Pipeline(tiny_joint), Pipeline(tiny_joint, window=1.5, overlap=0.5)
    assert np.array_equal(whole.separate(whole.prepare(path)), windowed.separate(windowed.prepare(path)))


def test_transcribe_gives_a_segment_a_speaker(tiny_joint: JointModel, talkers: np.ndarray, tmp_path: Path) -> None:
    pipeline = Pipeline(tiny_joint)
    segments = pipeline.transcribe(pipeline.prepare(write(tmp_path / "m.wav", talkers)), "m")
    assert [(s.session_id, s.speaker, s.start_time, s.end_time) for s in segments] == [
        ("m", "spk1", 0.0, 1.5),
        ("m", "spk2", 0.0, 1.5),
    ]


def test_long_recordings_are_transcribed_in_pieces(tiny_joint: JointModel, talkers: np.ndarray, tmp_path: Path) -> None:
    pipeline = Pipeline(tiny_joint, window=0.5, overlap=0.1)
    segments = pipeline.transcribe(pipeline.prepare(write(tmp_path / "m.wav", talkers)), "m")
    for speaker in ("spk1", "spk2"):
        own = [segment for segment in segments if segment.speaker == speaker]
        assert len(own) >= 3
        assert all(segment.end_time - segment.start_time <= 0.5 for segment in own)
        assert all(before.end_time <= after.start_time for before, after in pairwise(own))
        assert (own[0].start_time, own[-1].end_time) == (0.0, 1.5)


@pytest.mark.parametrize("window", [20.0, 0.5])
def test_word_times_are_those_of_the_recording(
    tiny_joint: JointModel, talkers: np.ndarray, tmp_path: Path, window: float
) -> None:
    pipeline = Pipeline(tiny_joint, DecodingConfig(method="greedy"), window=window, overlap=0.1, word_times=True)
    segments = pipeline.transcribe(pipeline.prepare(write(tmp_path / "m.wav", talkers)), "m")
    assert sum(len(segment.words.split()) for segment in segments) >= 2
    for segment in segments:
        assert segment.word_times is not None and segment.word_confidences is not None
        flat = [time for times in segment.word_times for time in times]
        assert flat == sorted(flat)
        assert all(segment.start_time <= time <= segment.end_time for time in flat)


def test_a_separator_alone_cannot_transcribe(tiny_separator: TFGridNet, talkers: np.ndarray, tmp_path: Path) -> None:
    pipeline = Pipeline(tiny_separator)
    with pytest.raises(SepasrError, match="a tfgridnet only separates; transcribing takes a run or a joint model"):
        pipeline.transcribe(pipeline.prepare(write(tmp_path / "m.wav", talkers)), "m")


def test_channels_are_chosen_in_the_order_given(tiny_joint: JointModel, talkers: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "m.wav", np.stack([talkers[0], talkers[0] * 0, talkers[1]]), subtype="FLOAT")
    assert np.array_equal(Pipeline(tiny_joint).prepare(path, [3, 1]).audio, talkers[::-1])
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
        Pipeline(tiny_joint).prepare(path, channels)
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_mvdr_takes_more_microphones_but_needs_its_reference(tmp_path: Path) -> None:
    config = MaskMVDRConfig(
        sample_rate=RATE, microphones=2, reference_microphone=1, fft_size=64, hop=16, layers=1, lstm=4, projection=4
    )
    pipeline = Pipeline(MaskMVDR(config))
    noise = 0.1 * np.random.default_rng(0).standard_normal((3, 4000))
    assert pipeline.separate(pipeline.prepare(write(tmp_path / "m.wav", noise))).shape == (2, 4000)
    with pytest.raises(SepasrError, match=r"1 channel found, the model needs at least 2; use a model of 1 microphone"):
        pipeline.prepare(write(tmp_path / "mono.wav", noise[:1]))


def test_a_broken_model_is_named(tmp_path: Path, unmixing: Unmixing, talkers: np.ndarray) -> None:
    unmixing.gains = torch.full((2, 1), torch.nan)
    pipeline = Pipeline(unmixing)
    with pytest.raises(SepasrError, match="the model gave NaN or infinite samples"):
        pipeline.separate(pipeline.prepare(write(tmp_path / "m.wav", talkers)))


def test_fingerprint_follows_the_weights(tiny_separator: TFGridNet) -> None:
    torch.manual_seed(1)
    other = TFGridNet(tiny_separator.config)
    assert Pipeline(tiny_separator).fingerprint() == Pipeline(tiny_separator).fingerprint()
    assert Pipeline(tiny_separator).fingerprint() != Pipeline(other).fingerprint()


def test_pieces_leave_silence_out_and_cover_the_rest() -> None:
    draw = np.random.default_rng(0)
    signal = draw.standard_normal(5000)
    signal[2000:4000] = 0
    found = pieces(signal, 1000, 1000)
    assert all(end - start <= 1000 for start, end in found)
    covered = np.zeros(5000, bool)
    for start, end in found:
        assert not covered[start:end].any()
        covered[start:end] = True
    assert covered[:2000].all()
    assert covered[4000:].all()
    assert not covered[2500:3500].all()
    assert pieces(np.full(100, SILENT / 2), 1000, 1000) == []
