"""Windows put together equal the whole, whatever order each window's speakers come in."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sepasr_cli.inference.long_form import in_order_of, separate_long, stitched, window_starts


class Shuffling:
    """A perfect separator of as many speakers as channels, which forgets their order between windows."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, mixture: Tensor) -> Tensor:
        self.sizes.append(tuple(mixture.shape))
        return torch.stack([x[torch.randperm(len(x), generator=self.random)] for x in mixture])


@pytest.mark.parametrize("speakers", [1, 2, 3])
@pytest.mark.parametrize("samples", [50, 100, 101, 139, 140, 141, 200, 1003])
@pytest.mark.parametrize("overlap", [10, 60, 99])
def test_stitched_windows_are_the_truth(speakers: int, samples: int, overlap: int) -> None:
    truth = torch.randn(speakers, samples, generator=torch.Generator().manual_seed(samples))
    for seed in range(3):
        found = separate_long(Shuffling(seed), truth, window=100, overlap=overlap, batch=3)
        assert found.shape == truth.shape
        # The first window's order stands for the recording's.
        found = in_order_of(truth, found, found)
        assert torch.allclose(found, truth, atol=1e-6)


def test_a_short_recording_is_separated_whole() -> None:
    separator = Shuffling(0)
    separate_long(separator, torch.randn(2, 77), window=100, overlap=10)
    assert separator.sizes == [(1, 2, 77)]


def test_windows_are_batched_and_of_one_size() -> None:
    separator = Shuffling(0)
    separate_long(separator, torch.randn(2, 415), window=100, overlap=10, batch=3)
    assert separator.sizes == [(3, 2, 100), (2, 2, 100)]


def test_the_batch_does_not_change_the_result() -> None:
    mixture = torch.randn(2, 500)
    results = [
        separate_long(lambda x: torch.tanh(x), mixture, window=100, overlap=30, batch=batch) for batch in (1, 2, 7)
    ]
    assert all(torch.equal(results[0], result) for result in results)


def test_pieces_come_before_the_end_is_reached() -> None:
    separator = Shuffling(0)
    pieces = stitched(separator, torch.randn(2, 1000), window=100, overlap=20, batch=1)
    assert next(pieces).shape == (2, 80)
    assert len(separator.sizes) == 1


def test_silence_keeps_the_order() -> None:
    streams = torch.randn(3, 20)
    assert torch.equal(in_order_of(torch.zeros(3, 5), streams[:, :5], streams), streams)


def test_starts_cover_everything_with_enough_overlap() -> None:
    for samples in range(1, 300):
        starts = window_starts(samples, 50, 20)
        assert starts[0] == 0
        assert samples <= 50 or starts[-1] == samples - 50
        assert all(0 < after - start <= 30 for start, after in pairwise(starts))
