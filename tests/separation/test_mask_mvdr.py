"""Mask-based MVDR: the beamformer on known mixtures, and the invariants that every separator has to keep."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from sepasr_cli.errors import SepasrError
from sepasr_cli.separation import build_separator
from sepasr_cli.separation.losses import mask_loss, separation_loss, si_sdr
from sepasr_cli.separation.mask_mvdr import MaskMVDR, MaskMVDRConfig, beamform
from sepasr_cli.separation.stft import Stft

SMALL: dict[str, Any] = {"layers": 2, "lstm": 8, "projection": 8, "fft_size": 64, "hop": 16}


def small(**changes: Any) -> MaskMVDR:
    torch.manual_seed(0)
    return MaskMVDR(MaskMVDRConfig(**{**SMALL, **changes}))


def delayed_talkers(seed: int = 0, samples: int = 8000) -> tuple[Tensor, Tensor]:
    """Two intermittent noises reaching two microphones with opposite delays: mixture (1, 2, N), images (1, 2, N)."""
    draw = torch.Generator().manual_seed(seed)
    gates = torch.rand(2, samples // 400, generator=draw).round().repeat_interleave(400, dim=1)
    sources = torch.randn(2, samples, generator=draw) * (gates + 0.05)
    other = torch.stack([sources[0].roll(2), sources[1].roll(-3)])
    noise = 0.01 * torch.randn(2, samples, generator=draw)
    return (torch.stack([sources.sum(0), other.sum(0)]) + noise)[None], sources[None]


def oracle_masks(images: Tensor, stft: Stft) -> Tensor:
    power = stft.analyse(images).abs().square()
    power = torch.cat((power, power.new_full(power[:, :1].shape, 1e-3)), 1)
    return power / power.sum(1, keepdim=True)


def test_builds_with_defaults() -> None:
    model = build_separator(MaskMVDRConfig())
    assert isinstance(model, MaskMVDR)
    assert len(model.estimator.lstms) == 3


@pytest.mark.parametrize(
    ("changes", "named"), [({"reference_microphone": 2}, "reference_microphone"), ({"hop": 33}, "hop")]
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        MaskMVDRConfig(**{**SMALL, **changes})


@pytest.mark.parametrize("beamformer", ["souden", "rtf"])
@pytest.mark.parametrize("reference", [0, 1])
def test_oracle_masks_separate(reference: int, beamformer: Any) -> None:
    stft = Stft(128, 32)
    mixture, images = delayed_talkers()
    targets = images if reference == 0 else torch.stack([images[0, 0].roll(2), images[0, 1].roll(-3)])[None]
    config = MaskMVDRConfig(reference_microphone=reference, beamformer=beamformer)
    estimates = beamform(stft.analyse(mixture), oracle_masks(images, stft), config)
    estimates = stft.synthesise(estimates, mixture.shape[2])
    gain = si_sdr(estimates, targets) - si_sdr(mixture[:, reference : reference + 1], targets)
    assert (gain > 10).all(), gain


@pytest.mark.parametrize("beamformer", ["souden", "rtf"])
def test_filters_do_not_distort_a_lone_speaker(beamformer: Any) -> None:
    """The filter passes a rank-1 source unchanged at the reference microphone."""
    stft = Stft(64, 16)
    source = stft.analyse(torch.randn(1, 1, 2000))
    steering = torch.randn(1, 3, 1, 33, dtype=torch.complex64)
    spectrum, frames = source * steering, source.shape[2]
    noise = torch.randn(1, 3, frames, 33, dtype=torch.complex64)
    active = (torch.arange(frames) < frames // 2).view(1, 1, -1, 1)
    masks = torch.cat((active, ~active), 1).expand(1, 2, frames, 33).float()
    config = MaskMVDRConfig(speakers=1, reference_microphone=1, beamformer=beamformer)
    found = beamform(torch.where(active, spectrum, noise), masks, config)[:, 0]
    torch.testing.assert_close(found[:, : frames // 2], spectrum[:, 1, : frames // 2], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("trained", [1, 2])
@pytest.mark.parametrize("microphones", [1, 2, 4])
@pytest.mark.parametrize("speakers", [1, 2, 3])
def test_any_number_of_microphones_and_speakers(trained: int, microphones: int, speakers: int) -> None:
    model, mixture = small(microphones=trained, speakers=speakers), torch.randn(2, microphones, 500)
    assert model(mixture).shape == (2, speakers, 500)
    masks = model.masks(mixture)
    assert masks.shape == (2, speakers + 1, model.stft.frames(500), 33)
    assert masks.min() >= 0 and masks.max() <= 1


@pytest.mark.parametrize("beamformer", ["souden", "rtf"])
def test_without_a_noise_mask_the_other_speakers_are_all_that_disturbs(beamformer: Any) -> None:
    model, mixture = small(noise_mask=False, beamformer=beamformer), torch.randn(1, 2, 500)
    masks = model.masks(mixture)
    assert masks.shape[1] == 2
    spectrum = model.stft.analyse(mixture / mixture.std())
    silent_noise = torch.cat([masks, torch.zeros_like(masks[:, :1])], dim=1)
    expected = beamform(spectrum, silent_noise, model.config.model_copy(update={"noise_mask": True}))
    with torch.no_grad():
        torch.testing.assert_close(model(mixture), model.stft.synthesise(expected, 500) * mixture.std())
    with pytest.raises(ValidationError, match="noise_mask"):
        MaskMVDRConfig(speakers=1, noise_mask=False)


def test_a_noise_mask_of_rounding_alone_changes_nothing() -> None:
    """What is left where estimates explain a noiseless mixture is rounding, another one on every machine."""
    mixture, images = delayed_talkers()
    stft = Stft(256, 64)
    spectrum, speakers = stft.analyse(mixture), stft.analyse(images)
    masks = torch.softmax(2 * speakers.abs(), dim=1)
    config = MaskMVDRConfig(diagonal_loading=1e-3)
    rest = 1e-12 * torch.rand_like(masks[:, :1])
    found = beamform(spectrum, torch.cat([masks, rest], dim=1), config)
    wanted = beamform(spectrum, masks, config)
    assert float((found - wanted).norm() / wanted.norm()) < 1e-3


@pytest.mark.parametrize("mask", ["sigmoid", "relu", "tanh", "clamp"])
def test_masks_stay_in_their_range(mask: Any) -> None:
    masks = small(mask=mask, mask_floor=0.1).masks(torch.randn(1, 2, 500))
    assert masks.min() >= 0.1 - 1e-6 and (mask == "relu" or masks.max() <= 1)


def test_one_microphone_applies_the_masks() -> None:
    model, mixture = small(), torch.randn(1, 1, 500)
    with torch.no_grad():
        expected = model.stft.synthesise(model.masks(mixture)[:, :2] * model.stft.analyse(mixture), 500)
        torch.testing.assert_close(model(mixture), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("microphones", [1, 2])
def test_example_alone_equals_itself_in_a_padded_batch(microphones: int) -> None:
    model = small(input="log").eval()
    mixture, lengths = torch.randn(4, microphones, 1003), torch.tensor([1003, 650, 333, 20])
    with torch.no_grad():
        batch, masks = model(mixture, lengths), model.masks(mixture, lengths)
        for index, length in enumerate(lengths.tolist()):
            example, frames = mixture[index : index + 1, :, :length], model.stft.frames(length)
            torch.testing.assert_close(batch[index, :, :length], model(example)[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(masks[index, :, :frames], model.masks(example)[0], atol=1e-5, rtol=1e-4)
            assert not batch[index, :, length:].any() and not masks[index, :, frames:].any()
        torch.testing.assert_close(model(mixture, torch.full((4,), 1003)), model(mixture))


@pytest.mark.parametrize("kind", ["l1", "si_sdr", "mask"])
def test_training_steps_lower_the_loss(kind: Any) -> None:
    model = small().train()
    mixture, images = delayed_talkers(samples=2000)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    analyse = model.stft.analyse
    losses = []
    for _ in range(10):
        if kind == "mask":
            rest = analyse(mixture[:, 0] - images.sum(1))
            loss = mask_loss(model.masks(mixture), analyse(mixture[:, 0]), analyse(images), rest).loss.mean()
        else:
            loss = separation_loss(model(mixture), images, kind=kind).loss.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01 * abs(losses[0])
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("microphones", [1, 2, 4])
@pytest.mark.parametrize("sound", ["silence", "identical", "one dead"])
def test_degenerate_recordings_are_harmless(microphones: int, sound: str) -> None:
    model = small()
    mixture = (
        torch.zeros(1, microphones, 400) if sound == "silence" else torch.randn(1, 1, 400).repeat(1, microphones, 1)
    )
    if sound == "one dead":
        mixture[:, -1] = 0
    estimate = model(mixture)
    assert estimate.isfinite().all() and estimate.abs().max() < 10 * mixture.abs().max() + 1e-6
    separation_loss(estimate, torch.zeros(1, 2, 400), kind="l1").loss.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("samples", [1, 2, 31, 33, 64])
def test_the_shortest_inputs(samples: int) -> None:
    found = small()(torch.randn(1, 2, samples))
    assert found.shape == (1, 2, samples) and found.isfinite().all()


def test_output_follows_the_inputs_level() -> None:
    model, mixture = small().eval(), torch.randn(1, 2, 500)
    with torch.no_grad():
        torch.testing.assert_close(model(100 * mixture), 100 * model(mixture), atol=1e-2, rtol=1e-3)


def test_a_missing_reference_microphone_names_the_remedy() -> None:
    with pytest.raises(SepasrError, match=r"found 1 channel, the model expects at least 2; .*--channels"):
        small(reference_microphone=1)(torch.randn(1, 1, 500))


def test_bfloat16_autocast_is_close_and_trains() -> None:
    model, mixture = small(), torch.randn(2, 2, 800)
    full = model(mixture)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(mixture)
    assert half.dtype == torch.float32
    assert (half - full).norm() < 0.05 * full.norm()
    half.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    model, mixture = small().eval(), torch.randn(1, 2, 500)
    model.save_pretrained(tmp_path)
    loaded = MaskMVDR.from_pretrained(str(tmp_path))
    assert loaded.config == model.config
    with torch.no_grad():
        assert torch.equal(loaded(mixture), model(mixture))


def test_phase_inputs_take_the_microphones_trained_with_alone() -> None:
    model = small(microphones=3, input="phase")
    assert list(model.takes) == [3] and 8 in small().takes
    with pytest.raises(SepasrError, match=r"found 2 channels, the model expects 3.*--channels"):
        model(torch.randn(1, 2, 800))
    with pytest.raises(ValidationError, match="at least 2 microphones"):
        MaskMVDRConfig(**{**SMALL, "microphones": 1, "input": "phase"})


def test_phase_inputs_of_fewer_microphones_are_those_of_silent_ones() -> None:
    model = small(microphones=3, input="phase", fewer_microphones=True)
    assert list(model.takes) == [1, 2, 3]
    mixture = torch.randn(2, 2, 800)
    with torch.no_grad():
        torch.testing.assert_close(model.masks(functional.pad(mixture, (0, 0, 0, 1))), model.masks(mixture))
        one = model(mixture[:, :1])
        assert not torch.allclose(one[:, 0], one[:, 1])
        mixture[0, 1] = 0
        torch.testing.assert_close(model(mixture)[0], one[0])
        torch.testing.assert_close(model(mixture)[1], model(mixture[1:])[0])


def test_phase_inputs_do_not_depend_on_level_or_padding() -> None:
    model = small(microphones=3, input="phase").eval()
    mixture = torch.randn(2, 3, 900)
    mixture[1, :, 700:] = 0
    together = model(mixture, torch.tensor([900, 700]))
    torch.testing.assert_close(together[1:, :, :700], model(mixture[1:, :, :700]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(8 * mixture), 8 * model(mixture), atol=1e-4, rtol=1e-3)


def test_phase_inputs_survive_silence() -> None:
    model = small(microphones=3, input="phase")
    estimates = model(torch.zeros(1, 3, 800))
    estimates.sum().backward()
    assert torch.isfinite(estimates).all()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None)


def test_phase_inputs_learn_directions() -> None:
    """Where delays tell two talkers apart, masks are found in a few steps that magnitudes alone do not give."""
    mixture, images = delayed_talkers()
    found = {}
    for kind in ("log", "phase"):
        model = small(input=kind, lstm=16, projection=16)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        spectra = model.stft.analyse(images)
        heard = model.stft.analyse(mixture[:, 0])
        for _ in range(30):
            optimizer.zero_grad()
            loss = mask_loss(model.masks(mixture), heard, spectra, heard - spectra.sum(1)).loss.mean()
            loss.backward()
            optimizer.step()
        found[kind] = float(loss.detach())
    assert found["phase"] < found["log"]
