"""Any file becomes one signal or one transcript a speaker, at the file's own rate and length."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter
from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.inference.summary import Summary
from sepasr_cli.joint import JointModel
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.separation import TFGridNet, TFGridNetConfig

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


def separate(pipeline: Pipeline, path: Path, summary: Summary | None = None) -> np.ndarray:
    return np.concatenate(list(pipeline.separate(pipeline.prepare(path), summary)), axis=1)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_rate_and_length_are_the_files(tmp_path: Path, tiny_joint: JointModel, talkers: np.ndarray, rate: int) -> None:
    pipeline = Pipeline(tiny_joint)
    recording = pipeline.prepare(write(tmp_path / "m.wav", talkers[:, :6001], rate))
    streams = np.concatenate(list(pipeline.separate(recording)), axis=1)
    assert streams.shape == (2, 6001)
    assert streams.dtype == np.float32
    assert recording.duration == 6001 / rate


@pytest.mark.parametrize("window", [20.0, 0.6])
def test_the_sum_explains_the_mixture(tmp_path: Path, unmixing: Unmixing, talkers: np.ndarray, window: float) -> None:
    mixture = np.stack([talkers.sum(0), talkers[0]])
    pipeline = Pipeline(unmixing, window=window, overlap=0.2, batch=2)
    streams = separate(pipeline, write(tmp_path / "m.wav", mixture, subtype="FLOAT"))
    assert np.allclose(streams, talkers, atol=2e-3)
    assert np.abs(streams.sum(0) - mixture[0]).max() < 2e-3


def test_a_window_that_is_long_enough_changes_nothing(
    tiny_joint: JointModel, talkers: np.ndarray, tmp_path: Path
) -> None:
    path = write(tmp_path / "m.wav", talkers)
    whole, windowed = Pipeline(tiny_joint), Pipeline(tiny_joint, window=1.5, overlap=0.5)
    assert np.array_equal(separate(whole, path), separate(windowed, path))


class Exchanging(Unmixing):
    """As `Unmixing`, but every second window has its speakers exchanged, as windows know nothing of each other."""

    windows = 0

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        streams = super().forward(mixture, lengths)
        self.windows += len(mixture)
        return streams.flip(1) if self.windows % 2 else streams


#: Who speaks from when to when, in seconds.
TURNS = [
    (0, 1.0, 4.0),
    (1, 5.0, 9.0),
    (0, 8.0, 13.0),
    (0, 15.0, 17.5),
    (1, 20.0, 23.0),
    (0, 24.0, 28.0),
    (1, 27.0, 31.0),
]


@pytest.fixture
def conversation() -> np.ndarray:
    """Two voices of different colour, (2, N), 35 s at 8 kHz, with pauses in which there is faint noise."""
    draw = np.random.default_rng(0)
    voices = 1e-4 * draw.standard_normal((2, 35 * RATE))
    for speaker, start, end in TURNS:
        level = np.repeat(draw.uniform(0.2, 1, round(10 * (end - start))), RATE // 10)
        coloured = lfilter([1], [1, (-0.8, 0.8)[speaker]], draw.standard_normal(len(level)))
        voices[speaker, round(start * RATE) :][: len(level)] += 0.1 * level * coloured / coloured.std()
    return voices.astype(np.float32)


@pytest.mark.parametrize("batch", [1, 3])
def test_who_speaks_when_is_found_whatever_the_windows(
    tmp_path: Path, tiny_joint: JointModel, conversation: np.ndarray, batch: int
) -> None:
    """Windows of 8 s with exchanged speakers: streams are whole, times are true, and silence has no words."""
    exchanging = Exchanging(TFGridNetConfig(sample_rate=RATE, blocks=1, embedding=4, lstm=4))
    pipeline = Pipeline(JointModel.join(exchanging, tiny_joint.recognizer), window=8, overlap=2, batch=batch)
    path = write(tmp_path / "m.wav", np.stack([conversation.sum(0), conversation[0]]), subtype="FLOAT")
    summary, seconds = Summary(), []
    segments = pipeline.transcribe(pipeline.prepare(path), "m", summary=summary, advance=seconds.append)
    assert sum(seconds) == pytest.approx(35)
    named = {segments[0].speaker: 0, segments[1].speaker: 1}
    assert [named[segment.speaker] for segment in segments] == [speaker for speaker, *_ in TURNS]
    found = [(segment.start_time, segment.end_time) for segment in segments]
    assert np.allclose(found, [times for _, *times in TURNS], atol=0.15)
    assert sorted(summary.spoken) == pytest.approx([11.0, 14.5], abs=0.5)
    assert all(segment.words for segment in segments)
    sure = [segment.join_confidence for segment in segments]
    assert sure[:2] == [None, None] and all(one is not None and one > 0.5 for one in sure[2:])
    streams = separate(pipeline, path)
    assert min(np.abs(streams - conversation[order]).max() for order in ([0, 1], [1, 0])) < 0.01


def test_the_speakers_with_most_speech_are_kept(
    tmp_path: Path, tiny_joint: JointModel, unmixing: Unmixing, conversation: np.ndarray
) -> None:
    pipeline = Pipeline(JointModel.join(unmixing, tiny_joint.recognizer))
    path = write(tmp_path / "m.wav", np.stack([conversation.sum(0), conversation[0]]), subtype="FLOAT")
    summary = Summary()
    segments = pipeline.transcribe(pipeline.prepare(path), "m", 1, summary)
    assert {segment.speaker for segment in segments} == {"spk1"}
    assert [segment.start_time for segment in segments] == pytest.approx([1, 8, 15, 24], abs=0.15)
    assert summary.lines(1) == ["2 speakers found, the 1 with most speech kept"]


def test_a_stream_of_leakage_holds_no_speaker(
    tmp_path: Path, tiny_joint: JointModel, unmixing: Unmixing, conversation: np.ndarray
) -> None:
    """One person alone, who is heard in the other stream too, 14 dB below."""
    alone = conversation[0] + 1e-4 * np.random.default_rng(1).standard_normal(conversation.shape[1])
    path = write(tmp_path / "m.wav", np.stack([alone, 0.83 * alone]), subtype="FLOAT")
    pipeline, summary = Pipeline(JointModel.join(unmixing, tiny_joint.recognizer)), Summary()
    segments = pipeline.transcribe(pipeline.prepare(path), "m", summary=summary)
    assert [segment.start_time for segment in segments] == pytest.approx([1, 8, 15, 24], abs=0.15)
    assert summary.lines() == ["1 of 2 streams hold speech, the other left out"]


def test_no_words_where_nobody_speaks(tmp_path: Path, tiny_joint: JointModel) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, 10 * RATE))
    pipeline, summary = Pipeline(tiny_joint), Summary()
    assert pipeline.transcribe(pipeline.prepare(write(tmp_path / "m.wav", noise)), "m", summary=summary) == []
    assert summary.lines() == ["no speech was found"]


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, unmixing: Unmixing) -> None:
    """Python's allocations and NumPy's, of one minute and a half and of ten."""
    peaks = []
    pipeline = Pipeline(unmixing, window=2, overlap=0.5, batch=2)
    for seconds in (90, 600):
        sound = 0.1 * np.random.default_rng(0).standard_normal((2, seconds * RATE)).astype(np.float32)
        recording = pipeline.prepare(write(tmp_path / f"{seconds}.wav", sound))
        del sound
        tracemalloc.start()
        samples = sum(piece.shape[1] for piece in pipeline.separate(recording))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert samples == seconds * RATE
    assert peaks[1] < 1.1 * peaks[0]


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


def test_a_broken_model_is_named(tmp_path: Path, unmixing: Unmixing, talkers: np.ndarray) -> None:
    unmixing.gains = torch.full((2, 1), torch.nan)
    pipeline = Pipeline(unmixing)
    with pytest.raises(SepasrError, match="the model gave NaN or infinite samples"):
        separate(pipeline, write(tmp_path / "m.wav", talkers))


def test_fingerprint_follows_the_weights(tiny_separator: TFGridNet) -> None:
    torch.manual_seed(1)
    other = TFGridNet(tiny_separator.config)
    assert Pipeline(tiny_separator).fingerprint() == Pipeline(tiny_separator).fingerprint()
    assert Pipeline(tiny_separator).fingerprint() != Pipeline(other).fingerprint()


def test_half_precision_separates_nearly_the_same_and_searches_in_full(
    tmp_path: Path, tiny_joint: JointModel, talkers: np.ndarray
) -> None:
    path = write(tmp_path / "m.wav", talkers)
    exact, half = Pipeline(tiny_joint), Pipeline(tiny_joint, precision="bf16")
    wanted, found = separate(exact, path), separate(half, path)
    assert 0 < np.linalg.norm(found - wanted) < 0.01 * np.linalg.norm(wanted)
    assert exact.inexactness == {} and half.inexactness == {"precision": "bf16"}
    said = half.transcribe(half.prepare(path), "m")
    assert all(segment.words for segment in said) and len(said) == len(exact.transcribe(exact.prepare(path), "m"))


@pytest.mark.parametrize("whole", [False, True])
def test_separated_signals_are_recognised_as_the_recordings_were(
    tmp_path: Path, tiny_joint: JointModel, talkers: np.ndarray, whole: bool
) -> None:
    pipeline = Pipeline(tiny_joint, DecodingConfig(method="greedy"), whole=whole)
    wanted, streams = {}, {}
    for name, length in (("a", 12000), ("b", 8000)):
        recording = pipeline.prepare(write(tmp_path / f"{name}.wav", talkers[:, :length], subtype="FLOAT"))
        streams[name] = np.concatenate(list(pipeline.separate(recording)), axis=1)
        wanted[name] = pipeline.transcribe(recording, name)
    found = pipeline.recognise(streams)
    assert [segment.session_id for segment in found["a"] + found["b"]] == ["a"] * len(found["a"]) + ["b"] * len(
        found["b"]
    )
    assert found == wanted and any(found.values())


def test_a_separator_alone_recognises_nothing(tiny_separator: TFGridNet) -> None:
    with pytest.raises(SepasrError, match="only separates"):
        Pipeline(tiny_separator).recognise({})
