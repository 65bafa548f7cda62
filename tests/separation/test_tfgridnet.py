"""TF-GridNet: the published mathematics, and the invariants that every separator has to keep."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from sepasr_cli.errors import SepasrError
from sepasr_cli.separation import build_separator, tfgridnet
from sepasr_cli.separation.losses import separation_loss, si_sdr
from sepasr_cli.separation.tfgridnet import GridBlock, TFGridNet, TFGridNetConfig, averaged, cues
from sepasr_cli.separation.wiener import explain
from sepasr_cli.settings import validate

SMALL: dict[str, Any] = {"blocks": 1, "embedding": 8, "lstm": 8, "heads": 2, "qk_size": 70, "fft_size": 64, "hop": 32}


def small(**changes: Any) -> TFGridNet:
    torch.manual_seed(0)
    return TFGridNet(TFGridNetConfig(**{**SMALL, **changes}))


def scatter(model: torch.nn.Module) -> None:
    """Move every weight off its initial value, so that no gain of 1 or offset of 0 hides a mistake."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_builds_with_defaults() -> None:
    model = build_separator(TFGridNetConfig())
    assert isinstance(model, TFGridNet)
    assert 8.0e6 < sum(parameter.numel() for parameter in model.parameters()) < 8.4e6


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"heads": 3}, "heads"),
        ({"reference_microphone": 2}, "reference_microphone"),
        ({"hop": 33}, "hop"),
        ({"stride": 5}, "stride"),
        ({"fft_size": 63}, "fft_size"),
        ({"activation": "elu"}, "activation"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        TFGridNetConfig(**{**SMALL, **changes})


def direct_block(block: GridBlock, config: TFGridNetConfig, x: Tensor) -> Tensor:
    """The block as the papers write it, in [B, D, T, F]: convolutions, one head after the other. The slow way."""
    kernel, stride, size = config.kernel, config.stride, config.embedding
    frames, frequencies = x.shape[2:]
    extra = [-(-(count - kernel) // stride) * stride + kernel - count for count in (frequencies, frames)]
    x = functional.pad(x, (0, extra[0], 0, extra[1]))
    for path, along in ((block.full_band, 3), (block.sub_band, 2)):
        y = functional.layer_norm(x.movedim(1, 3), (size,), path.norm.weight, path.norm.bias).movedim(3, 1)
        rows = y.movedim(along, 3).transpose(1, 2).flatten(0, 1)  # (B * other, D, length)
        columns = functional.unfold(rows[..., None], (kernel, 1), stride=(stride, 1))  # feature first, then position
        columns = columns.unflatten(1, (size, kernel)).transpose(1, 2).flatten(1, 2)
        hidden = path.lstm(columns.permute(2, 0, 1))[0].permute(1, 2, 0)
        weight = path.deconvolution.weight.unflatten(0, (kernel, size)).permute(2, 1, 0)
        rows = functional.conv_transpose1d(hidden, weight, path.bias, stride=stride)
        y = rows.unflatten(0, (x.shape[0], -1)).transpose(1, 2).movedim(3, along)
        x = x + y
    x = x[:, :, :frames, :frequencies]
    attention, start, columns_of = block.attention, 0, []
    for index, width in enumerate(attention.widths):
        for head in range(config.heads):
            weight = attention.qkv.weight[start : start + width, :, None, None]
            y = functional.conv2d(x, weight, attention.qkv.bias[start : start + width])
            y = functional.prelu(y, attention.activation.slope[index * config.heads + head])
            centred = y - y.mean((1, 3), keepdim=True)
            y = centred / torch.sqrt(centred.square().mean((1, 3), keepdim=True) + 1e-5)
            gain, offset = attention.gains[index][head], attention.offsets[index][head]  # (1, F, width)
            y = y.permute(0, 2, 3, 1) * gain + offset
            columns_of.append(y)
            start += width
    heads = []
    for head in range(config.heads):
        query, key, value = (columns_of[index * config.heads + head] for index in range(3))
        scores = query.flatten(2) @ key.flatten(2).mT / query[0, 0].numel() ** 0.5
        heads.append((scores.softmax(-1) @ value.flatten(2)).view_as(value))
    y = torch.cat(heads, 3) @ attention.projection.weight.T + attention.projection.bias
    y = functional.prelu(y, attention.projection_activation.slope)
    norm = attention.projection_norm
    return x + functional.layer_norm(y, y.shape[2:], norm.weight, norm.bias).movedim(3, 1)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 4), (4, 2), (4, 1), (4, 3), (1, 1)])
def test_equals_the_direct_form(kernel: int, stride: int) -> None:
    model = small(kernel=kernel, stride=stride, microphones=3, speakers=2).eval()
    scatter(model)
    mixture, config, window = torch.randn(2, 3, 700), model.config, torch.hann_window(64)
    with torch.no_grad():
        level = mixture.std((1, 2), keepdim=True)
        rows = (mixture / level).flatten(0, 1)
        spectrum = torch.stft(rows, 64, 32, window=window, return_complex=True).mT.unflatten(0, (2, 3))
        x = model.encode_norm(model.encode(torch.cat((spectrum.real, spectrum.imag), 1)))
        block = model.blocks[0]
        assert isinstance(block, GridBlock)
        x = direct_block(block, config, x)
        real_imaginary = model.decode(x).unflatten(1, (2, 2)).movedim(2, -1)
        estimates = torch.view_as_complex(real_imaginary.contiguous()).flatten(0, 1).mT
        sound = torch.istft(estimates, 64, 32, window=window, length=700).unflatten(0, (2, 2)) * level
        found = model(mixture)
    covered = 672  # beyond the last frame's centre the two may differ where the window vanishes
    torch.testing.assert_close(found[..., :covered], sound[..., :covered], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("microphones", [1, 2, 4])
@pytest.mark.parametrize("speakers", [1, 2, 3])
def test_any_number_of_microphones_and_speakers(microphones: int, speakers: int) -> None:
    model = small(microphones=microphones, speakers=speakers)
    assert model(torch.randn(2, microphones, 500)).shape == (2, speakers, 500)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 4), (4, 2), (4, 3)])
def test_example_alone_equals_itself_in_a_padded_batch(kernel: int, stride: int) -> None:
    model = small(blocks=2, kernel=kernel, stride=stride).eval()
    scatter(model)
    mixture, lengths = torch.randn(4, 2, 1003), torch.tensor([1003, 650, 333, 20])
    with torch.no_grad():
        batch = model(mixture, lengths)
        for index, length in enumerate(lengths.tolist()):
            alone = model(mixture[index : index + 1, :, :length])[0]
            torch.testing.assert_close(batch[index, :, :length], alone, atol=1e-5, rtol=1e-4)
            assert not batch[index, :, length:].any()
        torch.testing.assert_close(model(mixture, torch.full((4,), 1003)), model(mixture))


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("kind", ["l1", "si_sdr"])
def test_training_steps_lower_the_loss(kind: Any, checkpointed: bool) -> None:
    model = small(checkpoint_activations=checkpointed).train()
    sources = torch.randn(2, 2, 2, 600)
    mixture, references = sources.sum(1), sources[:, :, 0]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        loss = separation_loss(model(mixture), references, kind=kind).loss.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01 * abs(losses[0])
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("setting", "again"), [(True, [0, 1]), (1, [0]), (0, [])])
def test_checkpointing_changes_nothing(setting: bool | int, again: list[int], half: bool) -> None:
    plain, frugal = small(blocks=2), small(blocks=2, checkpoint_activations=setting)
    frugal.blocks[1].sub_band.requires_grad_(False)  # type: ignore[union-attr]
    passes = dict.fromkeys(range(2), 0)
    for index, block in enumerate(frugal.blocks):
        block.full_band.lstm.register_forward_hook(lambda *_, index=index: passes.update({index: passes[index] + 1}))  # type: ignore[union-attr]
    mixture, lengths = torch.randn(2, 2, 500), torch.tensor([500, 300])
    for model in (plain, frugal):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            estimates = model(mixture, lengths)
        estimates.square().sum().backward()
    assert passes == {index: 2 if index in again else 1 for index in passes}
    for (name, one), other in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        if other.requires_grad:
            # In half precision sums of weights' gradients are rounded elsewhere.
            assert (one.grad - other.grad).norm() <= (0.01 if half else 1e-5) * one.grad.norm() + 1e-4, name
        else:
            assert other.grad is None


def test_checkpointing_of_fewer_blocks_than_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TFGridNetConfig(checkpoint_activations=-1)
    with pytest.raises(SepasrError, match=r"found -1, expected true or false or a number greater than or equal to 0$"):
        validate(TFGridNetConfig, {"checkpoint_activations": -1}, "recipe")


@pytest.mark.parametrize("kind", ["l1", "si_sdr"])
@pytest.mark.parametrize("lengths", [None, torch.tensor([400, 100])])
def test_silence_is_harmless(kind: Any, lengths: Tensor | None) -> None:
    model, silence = small(), torch.zeros(2, 2, 400)
    estimate = model(silence, lengths)
    assert estimate.abs().max() < 1e-6
    separation_loss(estimate, silence, lengths, kind).loss.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("samples", [1, 2, 31, 33, 64])
def test_the_shortest_inputs(samples: int) -> None:
    found = small()(torch.randn(1, 2, samples))
    assert found.shape == (1, 2, samples) and found.isfinite().all()


def test_output_follows_the_inputs_level() -> None:
    model, mixture = small().eval(), torch.randn(1, 2, 500)
    with torch.no_grad():
        torch.testing.assert_close(model(100 * mixture), 100 * model(mixture), atol=1e-3, rtol=1e-4)


def test_reference_microphone_is_honoured() -> None:
    mixture = torch.randn(1, 3, 500)
    first, second = small(microphones=3).eval(), small(microphones=3, reference_microphone=1).eval()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert not torch.allclose(first(mixture), second(mixture), atol=1e-4)
        torch.testing.assert_close(second(mixture), first(mixture[:, [1, 0, 2]]))


def test_wrong_number_of_channels_names_the_remedy() -> None:
    with pytest.raises(SepasrError, match=r"found 3 channels, the model expects 2; .*--channels"):
        small()(torch.randn(1, 3, 500))


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_activations(activation: Any) -> None:
    mixture = torch.randn(1, 2, 300)
    assert not torch.allclose(small(activation=activation)(mixture), small()(mixture), atol=1e-4)


def trained(model: TFGridNet, half: bool, steps: int = 25) -> list[float]:
    """The losses of a short training that tells a low tone from a high one."""
    time, losses = torch.arange(800) / 800, []
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        torch.manual_seed(step)
        tones = torch.stack([20 + 20 * torch.rand(2), 120 + 100 * torch.rand(2)], dim=1)[..., None]
        sources = torch.sin(2 * math.pi * tones * time)
        mixture = (sources.sum(1, keepdim=True) + 0.01 * torch.randn(2, 1, 800)).expand(-1, 2, -1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            estimate = model(mixture)
        loss = separation_loss(estimate, sources).loss.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("lengths", [None, torch.tensor([800, 500])])
def test_bfloat16_trains_as_full_precision_and_its_error_is_bounded(lengths: Tensor | None) -> None:
    full, half = small(blocks=2), small(blocks=2)
    exact, rounded = trained(full, half=False), trained(half, half=True)
    assert sum(rounded[-5:]) < 0.8 * sum(rounded[:5])
    assert sum(rounded[-5:]) == pytest.approx(sum(exact[-5:]), rel=0.1)
    mixture = torch.sin(torch.arange(800) * torch.tensor([[0.2], [1.0]])).sum(0).expand(2, 2, -1)
    with torch.no_grad():
        wanted = full(mixture, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            found = full(mixture, lengths)
    assert found.dtype == torch.float32
    assert 0 < (found - wanted).norm() < 0.01 * wanted.norm()


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The LSTMs see a few rows at a time; with and without gradients all comes out as in one piece."""
    mixture, lengths, found = torch.randn(2, 2, 900), torch.tensor([900, 400]), []
    for rows in (1000, 7):
        monkeypatch.setattr(tfgridnet, "CACHED_ROWS", rows)
        model = small(blocks=2)
        scatter(model)
        estimate = model(mixture, lengths)
        estimate.square().sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(model(mixture, lengths), estimate)
        found.append([estimate.detach(), *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    model, mixture = small().eval(), torch.randn(1, 2, 500)
    model.save_pretrained(tmp_path)
    loaded = TFGridNet.from_pretrained(str(tmp_path))
    assert loaded.config == model.config
    with torch.no_grad():
        assert torch.equal(loaded(mixture), model(mixture))


def test_fewer_microphones_are_heard_as_silent_ones() -> None:
    model = small(microphones=4, fewer_microphones=True)
    scatter(model)
    assert list(model.takes) == [1, 2, 3, 4]
    mixture = torch.randn(2, 2, 400)
    with torch.no_grad():
        two = model(mixture)
        torch.testing.assert_close(model(functional.pad(mixture, (0, 0, 0, 2))), two)
        torch.testing.assert_close(model(10 * mixture), 10 * two, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(model(mixture[:, :1]), two, atol=0.01)
        with pytest.raises(SepasrError, match="found 5 channels, the model expects 1 to 4"):
            model(torch.randn(2, 5, 400))


def test_beamforming_helps_an_estimate_that_is_rough() -> None:
    """Two plane waves, three microphones: what the network would leave of the other speaker, the filters take away."""
    model = small(microphones=3, fewer_microphones=True, beamform=True)
    speakers = torch.randn(1, 2, 16000) * torch.randn(1, 2, 40).mul(2).exp().repeat_interleave(400, -1)
    mixture = torch.stack([speakers[:, 0].roll(m, -1) + speakers[:, 1].roll(-m, -1) for m in range(3)], dim=1)
    spectrum = model.stft.analyse(mixture)
    rough = model.stft.analyse(speakers + 0.5 * speakers.flip(1))
    mean = model.stft.synthesise(averaged(*model._filtered(rough, spectrum)), 16000)
    alone = model._filtered(rough, spectrum * torch.tensor([1.0, 0.0, 0.0])[:, None, None])
    assert (si_sdr(mean, speakers) > si_sdr(speakers + 0.5 * speakers.flip(1), speakers) + 1).all()
    for part in alone:
        torch.testing.assert_close(part, explain(rough, spectrum[:, 0]))


def test_beamforming_in_a_padded_batch_is_that_of_an_example_alone() -> None:
    model = small(microphones=3, fewer_microphones=True, beamform=True)
    scatter(model)
    mixture, lengths = torch.randn(2, 2, 2000), torch.tensor([2000, 1410])
    mixture[1, :, 1410:] = 0
    with torch.no_grad():
        together, alone = model(mixture, lengths)[1, :, :1410], model(mixture[1:, :, :1410])[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_beamforming_trains_and_leaves_one_microphone_but_for_its_level() -> None:
    plain, steered = (
        small(microphones=3, fewer_microphones=True),
        small(microphones=3, fewer_microphones=True, beamform=True),
    )
    assert plain.state_dict().keys() == steered.state_dict().keys()
    mixture = torch.randn(2, 3, 800)
    steered(mixture).square().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in steered.parameters() if weight.grad is not None)
    with torch.no_grad():
        assert (si_sdr(steered(mixture[:, :1]), plain(mixture[:, :1])) > 50).all()
        assert (si_sdr(steered(mixture), plain(mixture)) < 30).all()


def test_cues_are_levels_and_phase_differences() -> None:
    spectrum = torch.tensor([2.0, 2.0j, 0.0], dtype=torch.complex64).view(1, 3, 1, 1)
    levels, cosines, sines = cues(spectrum).split([3, 2, 2], dim=1)
    torch.testing.assert_close(levels.flatten(), torch.tensor([4.01, 4.01, 0.01]).log() / 2)
    torch.testing.assert_close(cosines.flatten(), torch.tensor([0.0, 0.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(sines.flatten(), torch.tensor([1.0, 0.0]), rtol=0, atol=1e-4)


def test_a_larger_network_begins_as_a_smaller_one_and_learns_with_all_it_has() -> None:
    torch.manual_seed(0)
    sizes = {"fft_size": 64, "hop": 32, "embedding": 4, "heads": 2, "qk_size": 66, "kernel": 4, "stride": 2}
    small = TFGridNet(TFGridNetConfig.model_validate(sizes | {"blocks": 1, "lstm": 3}))
    large = TFGridNet(TFGridNetConfig.model_validate(sizes | {"blocks": 3, "lstm": 5}))
    mixture, lengths = torch.randn(2, 2, 2000), torch.tensor([2000, 1500])
    assert not torch.allclose(large(mixture, lengths), small(mixture, lengths), atol=1e-2)
    large.begin_as(small)
    torch.testing.assert_close(large(mixture, lengths), small(mixture, lengths))
    optimizer, start = torch.optim.Adam(large.parameters()), {n: w.clone() for n, w in large.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        large(mixture, lengths).square().sum().backward()
        optimizer.step()
    still = [name for name, weight in large.named_parameters() if torch.equal(weight, start[name])]
    assert not still
    assert large.blocks[0].sub_band.deconvolution.weight[:, 3:5].abs().min() > 0


def test_a_network_with_cues_begins_as_one_without_and_learns_to_hear_them() -> None:
    torch.manual_seed(0)
    sizes = {"fft_size": 64, "hop": 32, "blocks": 1, "embedding": 4, "lstm": 4, "heads": 2, "qk_size": 66}
    before = TFGridNet(TFGridNetConfig.model_validate(sizes | {"microphones": 3}))
    after = TFGridNet(TFGridNetConfig.model_validate(sizes | {"microphones": 3, "cues": True}))
    after.begin_as(before)
    mixture = torch.randn(2, 3, 2000)
    torch.testing.assert_close(after(mixture), before(mixture))
    after(mixture).square().sum().backward()
    assert after.encode.weight.grad is not None
    assert after.encode.weight.grad[:, 6:].abs().amin(dim=(0, 2, 3)).min() > 0
