"""The transform: perfect round trips, and examples of a padded batch that are as if alone."""

import pytest
import torch

from sepasr_cli.separation.stft import ENVELOPE_FLOOR, SILENCE, Stft, deviation, differing, valid


@pytest.mark.parametrize(("fft_size", "hop"), [(64, 32), (64, 16), (60, 15), (64, 20)])
@pytest.mark.parametrize("samples", [1, 20, 33, 64, 320, 333])
def test_round_trip(fft_size: int, hop: int, samples: int) -> None:
    stft = Stft(fft_size, hop)
    audio = torch.randn(2, 3, samples, generator=torch.Generator().manual_seed(samples))
    spectrum = stft.analyse(audio)
    assert spectrum.shape == (2, 3, stft.frames(samples), fft_size // 2 + 1)
    torch.testing.assert_close(stft.synthesise(spectrum, samples), audio, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("samples", [320, 333])
def test_equals_torch(samples: int) -> None:
    stft, window = Stft(64, 16), torch.hann_window(64)
    audio = torch.randn(2, samples)
    spectrum = stft.analyse(audio)
    torch.testing.assert_close(spectrum.mT, torch.stft(audio, 64, 16, window=window, return_complex=True))
    spectrum = spectrum * torch.rand(spectrum.shape)
    expected = torch.istft(spectrum.mT, 64, 16, window=window, length=samples)
    torch.testing.assert_close(stft.synthesise(spectrum, samples), expected, atol=1e-5, rtol=1e-4)


def test_example_alone_equals_itself_in_a_padded_batch() -> None:
    stft, lengths, size = Stft(64, 16), torch.tensor([400, 333, 64, 20, 1]), 400
    audio = torch.randn(5, 2, size)
    spectrum = stft.analyse(audio, lengths)
    scaled = spectrum * torch.rand(spectrum.shape)
    sound = stft.synthesise(scaled, size, lengths)
    for index, length in enumerate(lengths.tolist()):
        frames = stft.frames(length)
        torch.testing.assert_close(spectrum[index, :, :frames], stft.analyse(audio[index : index + 1, :, :length])[0])
        assert not spectrum[index, :, frames:].any()
        alone = stft.synthesise(scaled[index : index + 1, :, :frames], length)[0]
        torch.testing.assert_close(sound[index, :, :length], alone)
        assert not sound[index, :, length:].any()
    assert torch.equal(stft.frames(lengths), torch.tensor([stft.frames(length) for length in lengths.tolist()]))


def test_end_covered_by_the_windows_tail_does_not_explode() -> None:
    """torch.istft divides the last of these samples by 4e-5, which makes a loud click of any estimate's error."""
    stft, samples = Stft(512, 256), 512 + 255
    spectrum = stft.analyse(torch.zeros(1, samples)) + torch.randn(1, stft.frames(samples), 257)
    sound = stft.synthesise(spectrum, samples)[0]
    assert sound[-20:].abs().max() < 2 * sound[:-20].abs().max()
    assert sound.abs().max() < spectrum.abs().max() / ENVELOPE_FLOOR**0.5


def test_deviation_leaves_padding_out_and_survives_silence() -> None:
    audio, lengths = torch.randn(2, 3, 100), torch.tensor([100, 40])
    expected = torch.stack([audio[0].std(), audio[1, :, :40].std()])
    torch.testing.assert_close(deviation(audio, lengths).flatten(), expected)
    torch.testing.assert_close(deviation(audio).flatten(), audio.flatten(1).std(1))
    silence = torch.zeros(1, 1, 1, requires_grad=True)
    level = deviation(silence)
    (silence / level).sum().backward()
    assert level.item() == pytest.approx(SILENCE)
    assert silence.grad is not None and silence.grad.isfinite().all()


def test_lengths_that_say_nothing_are_dropped() -> None:
    assert differing(None, 5) is None
    assert differing(torch.tensor([5, 5]), 5) is None
    assert differing(torch.tensor([4, 4]), 5) is not None
    assert valid(torch.tensor([0, 2]), 2).tolist() == [[False, False], [True, True]]
