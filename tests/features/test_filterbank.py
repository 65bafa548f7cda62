"""Log-mel filterbanks."""

import math

import pytest
import torch
from pydantic import ValidationError

from sepasr_cli.errors import SepasrError
from sepasr_cli.features import FilterbankConfig, build_features
from sepasr_cli.features.filterbank import Filterbank
from sepasr_cli.settings import Settings, validate


def make(sample_rate: int = 16000, **settings) -> Filterbank:
    features = build_features(FilterbankConfig(**settings), sample_rate)
    assert isinstance(features, Filterbank)
    return features


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_shapes_and_lengths(sample_rate):
    features = make(sample_rate, mels=40, fft_size=512, hop=160)
    found, lengths = features(torch.randn(2, 4000), torch.tensor([4000, 1599]))
    assert features.size == 40
    assert lengths.tolist() == [26, 10]
    assert found.shape == (2, 26, 40)
    assert (found[1, 10:] == 0).all()


def test_alone_equals_padded_batch_whatever_the_padding_holds():
    features, audio = make(), torch.randn(2, 5000)
    batch, lengths = features(audio, torch.tensor([5000, 3217]))
    alone, _ = features(audio[1:, :3217], torch.tensor([3217]))
    assert alone.shape[1] == lengths[1]
    torch.testing.assert_close(batch[1, : lengths[1]], alone[0], atol=1e-4, rtol=0)


def test_gradient_reaches_the_audio_inside_its_length_only():
    audio = torch.randn(1, 2000, requires_grad=True)
    make()(audio, torch.tensor([1500]))[0].sum().backward()
    assert audio.grad is not None and torch.isfinite(audio.grad).all()
    assert (audio.grad[0, :1500].abs() > 0).float().mean() > 0.9
    assert (audio.grad[0, 1500:] == 0).all()


def test_silence_is_finite_with_a_finite_gradient():
    audio = torch.zeros(1, 1000, requires_grad=True)
    found, _ = make()(audio, torch.tensor([1000]))
    found.sum().backward()
    torch.testing.assert_close(found, torch.full_like(found, math.log(1e-10)))
    assert audio.grad is not None and torch.isfinite(audio.grad).all()


@pytest.mark.parametrize("samples", [1, 100, 511])
def test_audio_shorter_than_the_window(samples):
    found, lengths = make()(torch.randn(1, samples), torch.tensor([samples]))
    assert found.shape[1] == lengths[0] == samples // 160 + 1
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("settings", [{}, {"mel_scale": "htk", "area_normalised": False}])
def test_a_tone_shows_in_the_filter_of_its_frequency(settings):
    """The centres of HTK filters are evenly spaced in 2595 log10(1 + f / 700); Slaney's are linear below 1 kHz."""
    tone = torch.sin(2 * math.pi * 440 * torch.arange(16000) / 16000)[None]
    found, _ = make(**settings)(tone, torch.tensor([16000]))
    if settings:
        step = 2595 * math.log10(1 + 8000 / 700) / 81
        expected = 2595 * math.log10(1 + 440 / 700) / step - 1
    else:
        top = 15 + 27 * math.log(8) / math.log(6.4)
        expected = 440 / (200 / 3) / (top / 81) - 1
    assert abs(int(found[0, 50].argmax()) - expected) <= 1


def test_frame_is_centred_on_its_sample():
    audio = torch.zeros(1, 4000)
    audio[0, 1600] = 1.0
    found, _ = make()(audio, torch.tensor([4000]))
    assert int(found.sum(-1)[0].argmax()) == 10


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"hop": 600}, "hop 600 is longer than the window"),
        ({"window": 600}, "window 600 is longer than fft_size 512"),
        ({"low_hz": 300, "high_hz": 200}, "high_hz 200 must be above low_hz 300"),
        ({"mels": 0}, "greater than 0"),
    ],
)
def test_impossible_sizes(settings, line):
    with pytest.raises(ValidationError, match=line):
        FilterbankConfig(**settings)


def test_filters_beyond_half_the_sample_rate():
    with pytest.raises(SepasrError, match="filters from 0 to 7000 Hz asked for at a sample rate of 8000 Hz"):
        make(8000, high_hz=7000)


def test_the_kind_decides_in_a_configuration():
    from sepasr_cli.features import FeaturesConfig, SSLConfig

    class Holder(Settings):
        features: FeaturesConfig

    assert isinstance(validate(Holder, {"features": {"kind": "ssl"}}, "x").features, SSLConfig)
    with pytest.raises(SepasrError, match=r"unknown key 'features.melz'"):
        validate(Holder, {"features": {"kind": "filterbank", "melz": 3}}, "recipe.yaml")


def test_mirrored_edges_are_those_of_the_example_alone():
    features, audio = make(edges="mirror"), torch.randn(2, 5000)
    batch, lengths = features(audio, torch.tensor([5000, 3217]))
    alone, _ = features(audio[1:, :3217], torch.tensor([3217]))
    torch.testing.assert_close(batch[1, : lengths[1]], alone[0], atol=1e-4, rtol=0)
    assert (batch[0, 5:-5] - make()(audio, torch.tensor([5000, 3217]))[0][0, 5:-5]).abs().max() < 1e-4
    short, count = features(torch.randn(1, 100), torch.tensor([100]))
    assert torch.isfinite(short).all() and short.shape[1] == count[0]
