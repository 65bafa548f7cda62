"""From the encoder's output of one utterance to tokens: greedy CTC, attention, and joint CTC/attention beam search.

The joint search is that of Watanabe et al. 2017 (Hybrid CTC/Attention Architecture, algorithm 2), with a language
model by shallow fusion. Letters: T frame, V vocabulary, K hypothesis.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sepasr_cli.recognition.tokens import BLANK_ID
from sepasr_cli.recognition.transformer_decoder import TransformerState
from sepasr_cli.settings import Settings

#: Values of the largest intermediate result of a CTC prefix score (64 MiB).
LARGEST = 1 << 23

#: A finished hypothesis that much worse than the best (in nats) for so many lengths on end tells that the end is past.
HOPELESS, LENGTHS_ON_END = 23.0, 3


class DecodingConfig(Settings):
    """How transcripts are found; the defaults are those of arXiv 2307.12231 (whose language model weight is 1)."""

    method: Literal["beam", "greedy", "attention"] = Field(
        "beam", description="beam: CTC and attention together; greedy: the best CTC token a frame; attention: alone"
    )
    beam: int = Field(10, gt=0)
    ctc_weight: float = Field(0.3, ge=0, le=1)
    lm_weight: float = Field(0.0, ge=0)
    length_bonus: float = Field(0.0, description="added to the score for each token")
    max_length_ratio: float = Field(1.0, gt=0, description="most tokens, relative to the encoder's frames")
    min_length_ratio: float = Field(0.0, ge=0, le=1, description="fewest tokens, relative to the encoder's frames")


class Scorer(Protocol):
    """What predicts tokens one at a time: the decoder, a language model."""

    def step(self, tokens: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Tokens (K,) -> log probabilities (K, V) of the next one, and the new state."""
        ...


@dataclass(frozen=True)
class Weighted:
    """A scorer, the state it begins with, and the weight of its log probabilities."""

    scorer: Scorer
    state: TransformerState
    weight: float


@dataclass(frozen=True)
class PrefixState:
    """CTC's view of K prefixes.

    `label` and `blank` (K, T): log probability that the frames up to t give exactly this prefix, ending in its last
    token, or in a blank. `score` (K,): log probability of all sentences that begin with it. `last` (K,): its last
    token, -1 for the empty one.
    """

    label: Tensor
    blank: Tensor
    score: Tensor
    last: Tensor


class CTCPrefixScorer:
    """Log probability, by CTC, that a sentence begins with a prefix (Watanabe et al. 2017, algorithm 2).

    The recursions over frames are sums in the log domain, written as cumulative ones: dividing the forward variable
    of a token by the product of its frames' probabilities turns the recursion into a running sum.
    Computed in double precision.
    """

    def __init__(self, log_probs: Tensor, boundary: int) -> None:
        """Log probabilities (T, V), and the id that ends a sentence."""
        # Apple's GPUs know no double precision.
        log_probs = log_probs.cpu() if log_probs.device.type == "mps" else log_probs
        self.log_probs, self.boundary = log_probs.double(), boundary
        self.cumulative = self.log_probs.cumsum(0)

    def start(self) -> PrefixState:
        """The empty prefix."""
        blank = self.cumulative[:, BLANK_ID][None]
        return PrefixState(
            label=torch.full_like(blank, -torch.inf),
            blank=blank,
            score=blank.new_zeros(1),
            last=torch.full((1,), -1, device=blank.device),
        )

    def scores(self, state: PrefixState) -> Tensor:
        """Scores (K, V) of each prefix with one more token; with the boundary, that of the sentence as it stands."""
        total = torch.logaddexp(state.label, state.blank)
        before = self._earlier(total, state.last)
        width = max(1, LARGEST // self.log_probs.numel())
        scores = torch.cat([(part[..., None] + self.log_probs).logsumexp(1) for part in before.split(width)])
        # A token after itself needs a blank between.
        repeated = (state.last >= 0).nonzero().flatten()
        if len(repeated):
            last = state.last[repeated]
            after_blank = self._earlier(state.blank[repeated], last) + self.log_probs[:, last].T
            scores[repeated, last] = after_blank.logsumexp(1)
        scores[:, BLANK_ID] = -torch.inf
        scores[:, self.boundary] = total[:, -1]
        return scores

    def extend(self, state: PrefixState, parents: Tensor, tokens: Tensor, scores: Tensor) -> PrefixState:
        """The state of the prefixes `parents` (K',), each with one of `tokens` (K',) added; `scores` as scored."""
        total = torch.logaddexp(state.label, state.blank)
        last = state.last[parents]
        source = torch.where((tokens == last)[:, None], state.blank[parents], total[parents])
        cumulative, frame = self.cumulative[:, tokens].T, self.log_probs[:, tokens].T
        label = cumulative + torch.logcumsumexp(self._earlier(source, last) - (cumulative - frame), dim=1)
        blanks, blank_frame = self.cumulative[:, BLANK_ID], self.log_probs[:, BLANK_ID]
        blank = blanks + torch.logcumsumexp(self._earlier(label, tokens) - (blanks - blank_frame), dim=1)
        return PrefixState(label, blank, scores[parents, tokens], tokens)

    @staticmethod
    def _earlier(forward: Tensor, last: Tensor) -> Tensor:
        """The value of the frame before; before the first one only the empty prefix has happened."""
        shifted = functional.pad(forward[:, :-1], (1, 0), value=-torch.inf)
        shifted[:, 0] = torch.where(last < 0, 0.0, shifted[:, 0])
        return shifted


def greedy(log_probs: Tensor) -> tuple[list[int], float]:
    """The best token of each frame of (T, V), repeats merged and blanks removed, and the log probability of that path.

    >>> greedy(torch.tensor([[.1, .8, .1], [.1, .8, .1], [.8, .1, .1], [.1, .8, .1]]).log())[0]
    [1, 1]
    """
    # The last token only bounds sentences: CTC never learns it.
    values, best = log_probs[:, :-1].max(-1)
    return [token for token in best.unique_consecutive().tolist() if token != BLANK_ID], float(values.double().sum())


def beam_search(
    frames: int,
    boundary: int,
    config: DecodingConfig,
    weighted: list[Weighted],
    ctc: CTCPrefixScorer | None,
    ctc_weight: float,
    device: torch.device,
) -> tuple[list[int], float]:
    """The best sentence found for one utterance, without boundaries, and its score.

    Each step keeps the `beam` best of all hypotheses with one more token; those that took the boundary are finished
    and leave the beam. The search ends when no running hypothesis can pass the best finished one any more.

    Args:
        frames: T of the encoder's output, from which lengths are bounded.
        boundary: the id that begins and ends sentences, the last one.
        config: beam, length bonus and bounds.
        weighted: decoder and language model.
        ctc: prefix scores, where they count.
        ctc_weight: their weight.
        device: where hypotheses' tokens live for the scorers.
    """
    longest = max(1, int(config.max_length_ratio * frames))
    shortest = min(longest, int(config.min_length_ratio * frames))
    # Scores are added up in double precision, on the CPU where the device has none.
    home = torch.device("cpu") if device.type == "mps" else device
    vocabulary = boundary + 1
    sentences: list[list[int]] = [[]]
    scores = torch.zeros(1, dtype=torch.float64, device=home)
    last = torch.full((1,), boundary, device=device)
    states = [part.state for part in weighted]
    prefix = ctc.start() if ctc else None
    finished = _Finished(config)

    for length in range(longest + 1):
        total = scores[:, None].repeat(1, vocabulary)
        for number, part in enumerate(weighted):
            log_probs, states[number] = part.scorer.step(last, states[number])
            total += part.weight * log_probs.to(home, torch.float64)
        prefix_scores = None
        if ctc and prefix:
            prefix_scores = ctc.scores(prefix)
            total += ctc_weight * (prefix_scores - prefix.score[:, None])
        total[:, BLANK_ID] = -torch.inf
        ended = total[:, boundary].clone()
        total += config.length_bonus
        total[:, boundary] = ended
        if length == longest:
            total[:, :boundary] = -torch.inf
        elif length < shortest and total[:, :boundary].isfinite().any():
            total[:, boundary] = -torch.inf

        best, places = total.flatten().topk(min(config.beam, total.numel()))
        places = places[best.isfinite()]
        parents, tokens = places // vocabulary, places % vocabulary
        for parent in parents[tokens == boundary].tolist():
            finished.add(sentences[parent], float(ended[parent]))
        parents, tokens = parents[tokens != boundary], tokens[tokens != boundary]
        if len(tokens) == 0:
            break
        scores = total[parents, tokens]
        sentences = [
            [*sentences[parent], token] for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True)
        ]
        if finished.settles(float(scores.max()), length + 1, longest):
            break
        if ctc and prefix and prefix_scores is not None:
            prefix = ctc.extend(prefix, parents, tokens, prefix_scores)
        last = tokens.to(device)
        states = [state.select(parents.to(device)) for state in states]
    return finished.best


class _Finished:
    """The finished hypotheses: the best one, and the best score of each length."""

    def __init__(self, config: DecodingConfig) -> None:
        self.bonus = max(0.0, config.length_bonus)
        self.best: tuple[list[int], float] = ([], -torch.inf)
        self.by_length: dict[int, float] = {}

    def add(self, sentence: list[int], score: float) -> None:
        """Keep what matters of a finished hypothesis."""
        self.by_length[len(sentence)] = max(score, self.by_length.get(len(sentence), -torch.inf))
        if score > self.best[1]:
            self.best = (sentence, score)

    def settles(self, running: float, length: int, longest: int) -> bool:
        """Whether running hypotheses of that length, the best with that score, cannot win any more.

        Log probabilities only lower a score, so without a bonus a worse one never wins. With a bonus that bound is
        loose, and the end is also believed to be past where the last lengths finished hopelessly (Watanabe et al.
        2017, equation 50).
        """
        if self.best[1] >= running + self.bonus * (longest - length):
            return True
        recent = [self.by_length.get(count, torch.inf) for count in range(length - LENGTHS_ON_END, length)]
        return self.bonus > 0 and max(recent) < self.best[1] - HOPELESS
