"""Windows put together equal the whole, whatever order each window's speakers come in."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from sepasr_cli.features import Filterbank, FilterbankConfig
from sepasr_cli.inference.long_form import Join, crossfade, cut, in_order, stitched, windows
from sepasr_cli.inference.voices import Voices

RATE = 8000


class Shuffling:
    """A perfect separator of as many speakers as channels, which forgets their order between windows."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, mixture: Tensor) -> Tensor:
        self.sizes.append(tuple(mixture.shape))
        return torch.stack([x[torch.randperm(len(x), generator=self.random)] for x in mixture])


def in_blocks(mixture: Tensor, size: int = 37) -> list[np.ndarray]:
    return [block.numpy() for block in mixture.split(size, dim=1)]


def separate(
    separator: Callable[[Tensor], Tensor], mixture: Tensor, window: int, overlap: int, batch: int = 1
) -> Tensor:
    pieces = list(stitched(separator, in_blocks(mixture), window, overlap, batch))
    starts = np.cumsum([0, *(piece.signals.shape[1] for piece in pieces)])
    assert [piece.start for piece in pieces] == starts[:-1].tolist()
    return torch.cat([piece.signals for piece in pieces], dim=1)


@pytest.mark.parametrize("speakers", [1, 2, 3])
@pytest.mark.parametrize("samples", [50, 100, 101, 139, 140, 141, 200, 1003])
@pytest.mark.parametrize("overlap", [10, 60, 99])
def test_stitched_windows_are_the_truth(speakers: int, samples: int, overlap: int) -> None:
    truth = torch.randn(speakers, samples, generator=torch.Generator().manual_seed(samples))
    for seed in range(3):
        found = separate(Shuffling(seed), truth, window=100, overlap=overlap, batch=3)
        assert found.shape == truth.shape
        # The first window's order stands for the recording's.
        found = found[list(in_order(truth, found).order)]
        assert torch.allclose(found, truth, atol=1e-6)


def test_a_short_recording_is_separated_whole() -> None:
    separator = Shuffling(0)
    separate(separator, torch.randn(2, 77), window=100, overlap=10)
    assert separator.sizes == [(1, 2, 77)]


def test_windows_are_batched_and_of_one_size() -> None:
    separator = Shuffling(0)
    separate(separator, torch.randn(2, 415), window=100, overlap=10, batch=3)
    assert separator.sizes == [(3, 2, 100), (2, 2, 100)]


def test_the_batch_does_not_change_the_result() -> None:
    mixture = torch.randn(2, 500)
    results = [separate(torch.tanh, mixture, window=100, overlap=30, batch=batch) for batch in (1, 2, 7)]
    assert all(torch.equal(results[0], result) for result in results)


def test_pieces_come_before_the_end_is_reached() -> None:
    separator = Shuffling(0)
    pieces = stitched(separator, in_blocks(torch.randn(2, 1000)), window=100, overlap=20, batch=1)
    assert next(pieces).signals.shape == (2, 80)
    assert len(separator.sizes) == 2


def test_no_more_is_read_than_the_windows_under_way_need() -> None:
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in range(1000):
            read += 50
            yield np.random.default_rng(read).standard_normal((2, 50)).astype(np.float32)

    done = 0
    for piece in stitched(Shuffling(0), blocks(), window=100, overlap=20, batch=2):
        done += piece.signals.shape[1]
        assert read - done <= 400
    assert done == read == 50_000


def test_windows_cover_everything_with_enough_overlap() -> None:
    for samples in range(1, 300):
        signal = np.arange(samples, dtype=np.float32)[None]
        found = list(windows(np.array_split(signal, range(7, samples, 7), axis=1), 50, 20))
        starts = [start for start, _ in found]
        assert starts[0] == 0 and starts[-1] == max(samples - 50, 0)
        assert all(0 < after - start <= 30 for start, after in pairwise(starts))
        assert all(np.array_equal(part, signal[:, start : start + 50]) for start, part in found)


def test_silence_keeps_the_order_and_is_no_confidence() -> None:
    streams = torch.randn(3, 20)
    assert in_order(torch.zeros(3, 5), streams) == Join(0, (0, 1, 2), "neither", 0.0)


def test_confidence_falls_with_what_both_orders_share() -> None:
    one, two = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    clean, alike = torch.stack([one, two]), torch.stack([one + 0.9 * two, two + 0.9 * one])
    joins = [in_order(streams, streams[[1, 0]]) for streams in (clean, alike)]
    assert [join.order for join in joins] == [(1, 0), (1, 0)]
    assert joins[0].confidence > 0.9 and joins[0].by == "overlap"
    assert joins[1].confidence < 0.1 and joins[1].by == "neither"


def test_windows_of_unknown_order_are_never_averaged() -> None:
    """Every sample of a join that nothing tells is one window's or the other's."""
    first, second = torch.randn(2, 2, 300, generator=torch.Generator().manual_seed(1))
    first[:, 200:], second[:, :100] = 1e-3, -1e-3
    results = iter([first, second])
    found = separate(lambda mixture: next(results)[None], torch.zeros(1, 500), window=300, overlap=100)
    shared = found[:, 200:300]
    assert set(shared.flatten().tolist()) <= {first[0, 250].item(), second[0, 50].item()}
    assert not torch.equal(shared, crossfade(first[:, 200:], second[:, :100]))


def test_a_cut_is_where_it_is_quietest() -> None:
    before, after = torch.ones(2, 2000), 2 * torch.ones(2, 2000)
    for signal in (before, after):
        signal[:, 1200:1500] = 0.01
    found = cut(before, after)
    edge = int((found[0] > 1.5).nonzero()[0])
    assert torch.equal(found[:, :1200], before[:, :1200]) and torch.equal(found[:, 1500:], after[:, 1500:])
    assert edge == 1500


def voice(pole: float, seconds: float, seed: int) -> Tensor:
    """Noise of a colour of its own with the ups and downs of speech."""
    draw = np.random.default_rng(seed)
    level = np.repeat(draw.uniform(0.2, 1, round(10 * seconds)), RATE // 10)
    coloured = lfilter([1], [1, pole], draw.standard_normal(len(level)))
    return torch.from_numpy(0.1 * level * coloured / coloured.std()).float()


def talk(turns: list[tuple[int, float]], seed: int) -> Tensor:
    """Two speakers who take turns, given as (who, seconds); -1 is silence."""
    parts = []
    for number, (who, seconds) in enumerate(turns):
        part = 1e-5 * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(number))
        if who >= 0:
            part[who] += voice((-0.8, 0.8)[who], seconds, seed + number)
        parts.append(part)
    return torch.cat(parts, dim=1)


def test_voices_tell_who_goes_on_after_a_silence() -> None:
    """Each window's overlap is silent: similarity says nothing, and what each stream said before does."""
    talking = [(0, 3.0), (1, 3.0), (-1, 2.0), (1, 3.0), (0, 3.0), (-1, 2.0), (0, 6.0), (-1, 2.0), (1, 6.0), (-1, 1.0)]
    truth = talk(talking, 5)
    for seed in range(8):
        voices = Voices(Filterbank(FilterbankConfig(mels=30, fft_size=256, hop=80), RATE), RATE)
        pieces = list(stitched(Shuffling(seed), in_blocks(truth, 5000), 8 * RATE, RATE, 1, voices))
        joins = [piece.join for piece in pieces if piece.join is not None]
        found = torch.cat([piece.signals for piece in pieces], dim=1)
        found = found[list(in_order(truth[:, : 6 * RATE], found).order)]
        assert "voices" in {join.by for join in joins}
        assert torch.allclose(found, truth, atol=1e-3)


def test_voices_say_nothing_before_they_have_heard_enough() -> None:
    voices = Voices(Filterbank(FilterbankConfig(mels=30, fft_size=256, hop=80), RATE), RATE)
    streams = talk([(0, 2.0), (1, 2.0)], 0)
    assert voices.distances(streams) is None
    voices.hear(streams[:, :4000])
    assert voices.distances(streams) is None
    voices.hear(streams)
    found = voices.distances(streams[[1, 0]])
    assert found is not None and found.argmin(1).tolist() == [1, 0] and found.sum() == pytest.approx(1)


def test_voices_keep_some_seconds_of_each_stream() -> None:
    voices = Voices(Filterbank(FilterbankConfig(mels=30, fft_size=256, hop=80), RATE), RATE)
    for number in range(30):
        voices.hear(talk([(0, 2.0), (1, 2.0)], number))
    assert all(len(heard) <= 20 * RATE for heard in voices._heard)
    assert len(voices._energies) <= 1500
