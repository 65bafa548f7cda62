"""Losses: permutations, padding, silence, and agreement with plain formulas and with mir_eval."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sepasr_cli.separation.losses import mask_loss, pit, separation_loss, si_sdr
from sepasr_cli.separation.stft import Stft


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["l1", "si_sdr"])
@pytest.mark.parametrize("speakers", [1, 2, 3, 4])
def test_all_orders_give_one_loss(kind: Any, speakers: int) -> None:
    references = draw(2, speakers, 700)
    estimates = references.roll(1, dims=1) + 0.3 * draw(2, speakers, 700, seed=1)
    expected = separation_loss(estimates, references, kind=kind)
    for order in permutations(range(speakers)):
        found = separation_loss(estimates, references[:, order], kind=kind)
        torch.testing.assert_close(found.loss, expected.loss)
        assert torch.equal(found.order, expected.order[:, order])
        aligned = estimates.gather(1, found.order[..., None].expand_as(estimates))
        torch.testing.assert_close(aligned, references[:, order], atol=2.0, rtol=0)
        assert separation_loss(aligned, references[:, order], kind=kind).order.tolist() == [[*range(speakers)]] * 2


def test_order_says_which_estimate_belongs_to_a_reference() -> None:
    references = draw(1, 3, 500)
    estimates = references[:, [2, 0, 1]]
    order = separation_loss(estimates, references).order
    assert order.tolist() == [[1, 2, 0]]
    assert torch.equal(estimates[0, order[0]], references[0])


def test_pit_is_the_best_of_all_orders() -> None:
    pairwise = draw(5, 4, 4)
    found = pit(pairwise)
    for losses, loss in zip(pairwise, found.loss, strict=True):
        orders = (losses[range(4), order].mean() for order in permutations(range(4)))
        assert loss.item() == pytest.approx(min(float(value) for value in orders))


@pytest.mark.parametrize("kind", ["l1", "si_sdr"])
def test_padding_and_scale_count_for_nothing(kind: Any) -> None:
    references, estimates, lengths = draw(3, 2, 900), draw(3, 2, 900, seed=1), torch.tensor([900, 700, 513])
    batch = separation_loss(estimates, references, lengths, kind)
    for index, length in enumerate(lengths.tolist()):
        found, wanted = (x[index : index + 1, :, :length] for x in (estimates, references))
        alone = separation_loss(found, wanted, kind=kind)
        torch.testing.assert_close(batch.loss[index], alone.loss[0], atol=1e-4, rtol=1e-4)
    rescaled = separation_loss(20 * estimates, references, lengths, kind)
    torch.testing.assert_close(rescaled.loss, batch.loss, atol=1e-4, rtol=1e-4)


def test_l1_formula_and_level() -> None:
    reference, estimate, window = draw(1, 1, 1024), draw(1, 1, 1024, seed=1), torch.hann_window(512)
    fitted = estimate * (estimate * reference).sum() / estimate.square().sum()
    magnitudes = (torch.stft(x[0], 512, 256, window=window, return_complex=True).abs() for x in (fitted, reference))
    found, wanted = magnitudes
    expected = (0.99 * (fitted - reference).abs().sum() + 0.01 * (found - wanted).abs().sum()) / 1024
    result = separation_loss(estimate, reference)
    torch.testing.assert_close(result.loss[0], expected)
    level = torch.tensor([4.0])
    torch.testing.assert_close(separation_loss(estimate, 4 * reference, level=level).loss, result.loss)


def test_si_sdr_is_the_plain_formula() -> None:
    estimate, reference = draw(2, 3, 400).numpy() + 0.5, draw(2, 3, 400, seed=1).numpy() - 0.2
    estimate = estimate + 2 * reference
    found = si_sdr(torch.from_numpy(estimate), torch.from_numpy(reference)).numpy()
    for index in np.ndindex(2, 3):
        e, r = (x[index].astype(float) - x[index].mean(dtype=float) for x in (estimate, reference))
        target = e @ r / (r @ r) * r
        assert found[index] == pytest.approx(10 * np.log10(target @ target / ((e - target) @ (e - target))), abs=1e-3)
    one = si_sdr(torch.from_numpy(estimate[0, 0]), torch.from_numpy(reference[0, 0]))
    assert float(one) == pytest.approx(found[0, 0], abs=1e-4)


@pytest.mark.parametrize("kind", ["l1", "si_sdr"])
@pytest.mark.parametrize("silent", ["estimate", "reference", "both"])
def test_silence_gives_finite_losses_and_gradients(kind: Any, silent: str) -> None:
    estimate = (draw(2, 2, 600) * (silent == "reference")).requires_grad_()
    reference = draw(2, 2, 600, seed=1) * (silent == "estimate")
    loss = separation_loss(estimate, reference, torch.tensor([600, 300]), kind).loss
    loss.sum().backward()
    assert loss.isfinite().all()
    assert estimate.grad is not None and estimate.grad.isfinite().all()


@pytest.mark.parametrize("quiet", [0.0, 0.01])
def test_a_silent_speaker_costs_what_is_heard_of_them_at_any_level(quiet: float) -> None:
    references = draw(1, 2, 800)
    references[:, 1] *= quiet
    other = draw(1, 1, 800, seed=1)
    losses = []
    for leak in (1.0, 0.1, 0.01, 1e-4):
        estimates = torch.cat([leak * other, references[:, :1] + 0.1 * other], dim=1)
        result = separation_loss(estimates, references, kind="si_sdr")
        assert result.order.tolist() == [[1, 0]]
        power = estimates.square().sum(-1)[0]
        share = float(power[0] / power.sum())
        heard = -float(si_sdr(estimates[0, 1], references[0, 0]))
        assert float(result.loss) == pytest.approx((10 * np.log10(share + 1e-3) + heard) / 2, abs=1e-3)
        torch.testing.assert_close(separation_loss(7 * estimates, references, kind="si_sdr").loss, result.loss)
        losses.append(float(result.loss))
    assert losses == sorted(losses, reverse=True)
    assert losses[2] - losses[3] < 0.3
    present = separation_loss(estimates, references + 0.1 * other, kind="si_sdr").loss
    assert float(present) < losses[3]


@pytest.mark.parametrize("speakers", [1, 2, 3])
def test_mask_loss_orders_padding_and_optimum(speakers: int) -> None:
    stft, lengths = Stft(64, 16), torch.tensor([600, 400])
    images, noise = draw(2, speakers, 600), 0.1 * draw(2, 600, seed=1)
    sources = stft.analyse(torch.cat((images, noise[:, None]), 1), lengths)
    mixture, frames = sources.sum(1), stft.frames(lengths)
    ideal = ((sources * mixture[:, None].conj()).real / mixture[:, None].abs().square().clamp(min=1e-12)).clamp(0, 1)
    assert mask_loss(ideal, mixture, sources[:, :-1], sources[:, -1], frames).loss.max() < 1e-5

    masks = torch.rand(2, speakers + 1, *mixture.shape[1:], requires_grad=True)
    expected = mask_loss(masks, mixture, sources[:, :-1], sources[:, -1], frames)
    for order in permutations(range(speakers)):
        found = mask_loss(masks, mixture, sources[:, :-1][:, order], sources[:, -1], frames)
        torch.testing.assert_close(found.loss, expected.loss)
        assert torch.equal(found.order, expected.order[:, order])
    short = int(frames[1])
    alone = mask_loss(*(x[1:, ..., :short, :] for x in (masks, mixture, sources[:, :-1], sources[:, -1])))
    torch.testing.assert_close(alone.loss[0], expected.loss[1])
    expected.loss.sum().backward()
    assert masks.grad is not None and masks.grad.isfinite().all()


def test_mask_loss_on_silence() -> None:
    masks, nothing = torch.rand(1, 3, 5, 9, requires_grad=True), torch.zeros(1, 5, 9, dtype=torch.complex64)
    loss = mask_loss(masks, nothing, nothing[:, None].expand(1, 2, 5, 9), nothing).loss
    loss.sum().backward()
    assert loss.item() == 0
    assert masks.grad is not None and masks.grad.isfinite().all()
