"""From the encoder's output to tokens: greedy CTC, attention, and joint CTC/attention beam search.

The joint search is that of Watanabe et al. 2017 (Hybrid CTC/Attention Architecture, algorithm 2), with a language
model by shallow fusion. It runs over all hypotheses of all utterances of a batch at once, after Seki et al. 2019
(Vectorized Beam Search for CTC-Attention-Based Speech Recognition); an utterance that is done leaves the batch.
Letters: B utterance, K hypothesis, T frame, U token, V vocabulary, C candidate for the next token.
"""

from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sepasr_cli.recognition.tokens import BLANK_ID
from sepasr_cli.settings import Settings

#: Sentences that much worse than the best (in nats) at so many lengths on end tell that the end is past.
HOPELESS, LENGTHS_ON_END = 10.0, 3


class DecodingConfig(Settings):
    """How transcripts are found; the defaults are those of arXiv 2307.12231."""

    method: Literal["beam", "greedy", "attention"] = Field(
        "beam", description="beam: CTC and attention together; greedy: the best CTC token a frame; attention: alone"
    )
    beam: int = Field(10, gt=0)
    ctc_weight: float = Field(0.3, ge=0, le=1)
    lm_weight: float | None = Field(
        None, ge=0, description="of the language model; null: 1 where there is one, which is then used"
    )
    length_bonus: float = Field(0.0, description="added to the score for each token, the end included")
    max_length_ratio: float = Field(1.0, gt=0, description="most tokens, relative to the encoder's frames")
    min_length_ratio: float = Field(0.0, ge=0, le=1, description="fewest tokens, relative to the encoder's frames")
    pre_beam: float | None = Field(
        1.5,
        gt=0,
        description="CTC scores the best pre_beam * beam tokens after each hypothesis by decoder and language model; "
        "null: all tokens",
    )
    words: tuple[str, ...] | None = Field(
        None, min_length=1, description="the words there are, of which sentences are made; null: any; not for greedy"
    )
    detect_end: bool = Field(
        True, description="stop where sentences that end at the last lengths are hopeless, even if longer ones may win"
    )

    def language_model_weight(self, present: bool) -> float:
        """The weight in force where a language model is `present` or not."""
        if self.method == "greedy":
            return 0.0
        return float(present) if self.lm_weight is None else self.lm_weight

    def candidates(self, vocabulary: int) -> int:
        """How many tokens CTC scores after each hypothesis."""
        return vocabulary if self.pre_beam is None else min(vocabulary, max(1, int(self.pre_beam * self.beam)))


class ScorerState(Protocol):
    """What a scorer remembers of B utterances with K hypotheses each."""

    def keep(self, utterances: Tensor) -> None:
        """Forget all but the utterances at these indices (B',)."""
        ...

    def select(self, parents: Tensor) -> None:
        """Go on from these hypotheses (B, K')."""
        ...


State = TypeVar("State", bound=ScorerState)
Remembered = TypeVar("Remembered", bound=ScorerState, contravariant=True)


class Scorer(Protocol[Remembered]):
    """What predicts tokens one at a time: the decoder, a language model, a lexicon."""

    def step(self, tokens: Tensor, state: Remembered) -> Tensor:
        """Tokens (B, K) -> log probabilities (B, K, V) of the next one; the state goes on by these tokens."""
        ...


@dataclass(frozen=True)
class Weighted(Generic[State]):
    """A scorer, the state it begins with, and the weight of its log probabilities."""

    scorer: Scorer[State]
    state: State
    weight: float


@dataclass(frozen=True)
class PrefixState:
    """CTC's view of prefixes.

    `label` and `blank` (B, K, T): log probability that the frames up to t give exactly this prefix, ending in its last
    token, or in a blank. `score` (B, K): log probability of all sentences that begin with it. `last` (B, K): its last
    token, -1 for the empty one.
    """

    label: Tensor
    blank: Tensor
    score: Tensor
    last: Tensor

    def keep(self, utterances: Tensor) -> "PrefixState":
        """The state of the utterances at these indices (B',) alone."""
        return PrefixState(
            self.label[utterances], self.blank[utterances], self.score[utterances], self.last[utterances]
        )


class CTCPrefixScorer:
    """Log probability, by CTC, that a sentence begins with a prefix (Watanabe et al. 2017, algorithm 2).

    The recursions over frames are written without a loop: dividing the forward variable of a token by the product of
    its frames' probabilities turns the recursion into a running sum. Computed in double precision.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, boundary: int) -> None:
        """Log probabilities (B, T, V) of utterances of the given lengths (B,), and the id that ends a sentence."""
        # Apple's GPUs know no double precision.
        home = torch.device("cpu") if log_probs.device.type == "mps" else log_probs.device
        self.log_probs = log_probs.to(home, torch.float64).transpose(1, 2).contiguous()  # (B, V, T)
        self.last_frame, self.boundary = lengths.to(home) - 1, boundary
        beyond = torch.arange(log_probs.shape[1], device=home) > self.last_frame[:, None]
        self.probs = self.log_probs.exp().masked_fill(beyond[:, None], 0.0)

    def start(self) -> PrefixState:
        """The empty prefix of each utterance, (B, 1)."""
        blank = self.log_probs[:, None, BLANK_ID].cumsum(-1)
        return PrefixState(
            label=torch.full_like(blank, -torch.inf),
            blank=blank,
            score=torch.zeros_like(blank[..., 0]),
            last=torch.full_like(blank[..., 0], -1, dtype=torch.long),
        )

    def scores(self, state: PrefixState, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log probabilities of each prefix with one more token, and of the sentence as it stands.

        Args:
            state: of the prefixes.
            tokens: (B, K, C) those to score, -inf for blank and boundary; None: all, in their order.

        Returns:
            (B, K, C) and (B, K).
        """
        total = torch.logaddexp(state.label, state.blank)
        before, peak = _scaled(_earlier(total, state.last))
        blank, blank_peak = _scaled(_earlier(state.blank, state.last))
        rows = _rows(state.last)
        if tokens is None:
            tokens = torch.arange(self.boundary + 1, device=total.device).expand(*total.shape[:2], -1)
            summed = before @ self.probs.transpose(1, 2)
        else:
            summed = (self.probs[rows[..., None], tokens] @ before[..., None])[..., 0]
        scores = summed.log() + peak
        # A token after itself needs a blank between.
        again = (self.probs[rows, state.last.clamp(min=0)] * blank).sum(-1, keepdim=True).log() + blank_peak
        scores = torch.where(tokens == state.last[..., None], again, scores)
        scores = scores.masked_fill((tokens == BLANK_ID) | (tokens == self.boundary), -torch.inf)
        end = self.last_frame[:, None, None].expand(-1, total.shape[1], 1)
        return scores, total.gather(2, end)[..., 0]

    def extend(self, state: PrefixState, parents: Tensor, tokens: Tensor, scores: Tensor) -> PrefixState:
        """The state of the prefixes `parents` (B, K'), each with one of `tokens` (B, K') added; `scores` as scored."""
        rows = _rows(parents)
        label, blank, last = state.label[rows, parents], state.blank[rows, parents], state.last.gather(1, parents)
        source = torch.where((tokens == last)[..., None], blank, torch.logaddexp(label, blank))
        label = _running(_earlier(source, last), self.log_probs[rows, tokens])
        blank = _running(_earlier(label, tokens), self.log_probs[:, None, BLANK_ID])
        return PrefixState(label, blank, scores, tokens)

    def keep(self, utterances: Tensor) -> None:
        """Forget all but the utterances at these indices (B',)."""
        self.log_probs, self.probs = self.log_probs[utterances], self.probs[utterances]
        self.last_frame = self.last_frame[utterances]


def _rows(places: Tensor) -> Tensor:
    """Indices (B, 1) that go with indices (B, K) into each utterance's own."""
    return torch.arange(len(places), device=places.device)[:, None]


def _earlier(forward: Tensor, last: Tensor) -> Tensor:
    """The value of (B, K, T) a frame before; before the first frame only the empty prefix has happened."""
    shifted = functional.pad(forward[..., :-1], (1, 0), value=-torch.inf)
    shifted[..., 0].masked_fill_(last < 0, 0.0)
    return shifted


def _scaled(log: Tensor) -> tuple[Tensor, Tensor]:
    """Log values (B, K, T) as multiples of their greatest, and its logarithm (B, K, 1)."""
    peak = log.amax(-1, keepdim=True).clamp(min=torch.finfo(log.dtype).min)
    return (log - peak).exp(), peak


def _running(source: Tensor, log_probs: Tensor) -> Tensor:
    """x[t] = log(exp(x[t - 1]) + exp(source[t])) + log_probs[t], all (B, K, T)."""
    product = log_probs.cumsum(-1)
    return product + torch.logcumsumexp(source - (product - log_probs), dim=-1)


def greedy(log_probs: Tensor) -> tuple[list[int], float]:
    """The best token of each frame of (T, V), repeats merged and blanks removed, and the log probability of that path.

    >>> greedy(torch.tensor([[.1, .8, .1], [.1, .8, .1], [.8, .1, .1], [.1, .8, .1]]).log())[0]
    [1, 1]
    """
    # The last token only bounds sentences: CTC never learns it.
    values, best = log_probs[:, :-1].max(-1)
    return [token for token in best.unique_consecutive().tolist() if token != BLANK_ID], float(values.double().sum())


def beam_search(
    lengths: Tensor,
    boundary: int,
    config: DecodingConfig,
    weighted: list[Weighted[Any]],
    ctc: CTCPrefixScorer | None,
    ctc_weight: float,
) -> list[tuple[list[int], float]]:
    """The best sentence found for each utterance, without boundaries, and its score.

    Each step keeps the `beam` best of all hypotheses with one more token; those that took the boundary are finished
    and leave the beam. An utterance is done when no running hypothesis can pass its best finished one any more, or
    when the end seems past (Watanabe et al. 2017, equation 50).

    Args:
        lengths: frames of the encoder's output (B,), from which the sentences' lengths are bounded.
        boundary: the id that begins and ends sentences, the last one.
        config: beam, length bonus and bounds, and where to stop.
        weighted: decoder, language model, lexicon.
        ctc: prefix scores, where they count.
        ctc_weight: their weight.
    """
    # Scores are added up in double precision, on the CPU where the device has none.
    home = torch.device("cpu") if lengths.device.type == "mps" else lengths.device
    beam = _Beam(lengths.to(home), boundary, config)
    last = torch.full((len(lengths), 1), boundary, device=lengths.device)
    prefix = ctc.start() if ctc else None
    chosen = config.candidates(boundary + 1)
    pruned = ctc is not None and 0 < ctc_weight < 1 and len(weighted) > 0 and chosen <= boundary

    while beam.running:
        added = torch.zeros(*last.shape, boundary + 1, dtype=torch.float64, device=home)
        for part in weighted:
            added += part.weight * part.scorer.step(last, part.state).to(home, torch.float64)
        ended, candidates, prefix_scores = added[..., boundary], None, None
        if ctc and prefix:
            candidates = added.topk(chosen, dim=-1).indices if pruned else None
            prefix_scores, whole = ctc.scores(prefix, candidates)
            added = added if candidates is None else added.gather(2, candidates)
            added = added + ctc_weight * (prefix_scores - prefix.score[..., None])
            ended = ended + ctc_weight * (whole - prefix.score)
        if candidates is None:
            candidates = torch.arange(boundary + 1, device=home).expand_as(added)
        parents, places, tokens = beam.advance(added, ended, candidates)
        if prefix_scores is not None:
            prefix_scores = prefix_scores[_rows(parents), parents, places]

        kept = beam.leave()
        if kept is not None:
            parents, tokens = parents[kept], tokens[kept]
            for part in weighted:
                part.state.keep(kept.to(lengths.device))
            if ctc and prefix and prefix_scores is not None:
                ctc.keep(kept)
                prefix, prefix_scores = prefix.keep(kept), prefix_scores[kept]
        for part in weighted:
            part.state.select(parents.to(lengths.device))
        if ctc and prefix and prefix_scores is not None:
            prefix = ctc.extend(prefix, parents, tokens, prefix_scores)
        last = tokens.to(lengths.device)
    return beam.results


class _Beam:
    """The hypotheses of all utterances that are not done, and the best finished sentence of each."""

    def __init__(self, lengths: Tensor, boundary: int, config: DecodingConfig) -> None:
        self.boundary, self.config = boundary, config
        self.longest = (config.max_length_ratio * lengths.double()).long().clamp(min=1)
        self.shortest = (config.min_length_ratio * lengths.double()).long().minimum(self.longest)
        self.utterances = list(range(len(lengths)))
        self.results: list[tuple[list[int], float]] = [([], -torch.inf)] * len(lengths)
        self.scores = lengths.new_zeros(len(lengths), 1, dtype=torch.float64)  # -inf: finished
        self.sentences = lengths.new_zeros(len(lengths), 1, 0, dtype=torch.long)
        self.best_score = lengths.new_full((len(lengths),), -torch.inf, dtype=torch.float64)
        self.best = lengths.new_full((len(lengths), 1), boundary, dtype=torch.long)
        #: The best score of the sentences that ended with 0, 1, ... tokens, each (B,); -inf: none did.
        self.ended: list[Tensor] = []

    @property
    def running(self) -> bool:
        """Whether anything is left to search."""
        return len(self.utterances) > 0

    def advance(self, added: Tensor, ended: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the best of all hypotheses with one more token.

        Args:
            added: what each token adds to a hypothesis's score (B, K, C).
            ended: what its end adds (B, K).
            tokens: the tokens (B, K, C); blank and boundary among them are passed over.

        Returns:
            Of the hypotheses chosen, each (B, K'): the index of its parent, that of its token among the parent's
            candidates, and the token. Those that ended remain, with a score of -inf and no meaning; all of them end
            at the longest length, where what their end adds does not count.
        """
        length, count = self.sentences.shape[2], tokens.shape[2]
        added = added.masked_fill((tokens == BLANK_ID) | (tokens == self.boundary), -torch.inf)
        totals = torch.cat([added, ended[..., None]], dim=2) + (self.scores[..., None] + self.config.length_bonus)
        totals = totals.masked_fill(self.scores[..., None] == -torch.inf, -torch.inf)
        if self.config.min_length_ratio > 0:
            goes_on = totals[..., :-1].isfinite().any(2).any(1)
            totals[..., -1].masked_fill_(((length < self.shortest) & goes_on)[:, None], -torch.inf)
        totals = totals.flatten(1)
        best, index = totals.topk(min(self.config.beam, totals.shape[1]))
        parents, places = index // (count + 1), index % (count + 1)
        ends = places == count
        places = places.clamp(max=count - 1)
        rows = _rows(parents)
        chosen = tokens[rows, parents, places].masked_fill(ends, self.boundary)
        before = self.sentences[rows, parents]
        finished = ends | (length + 1 >= self.longest)[:, None]

        score, slot = best.masked_fill(~finished, -torch.inf).max(1)
        self.sentences = torch.cat([before, chosen[..., None]], dim=2)
        sentence = functional.pad(self.sentences[rows, slot[:, None]][:, 0], (0, 1), value=self.boundary)
        self.best = functional.pad(self.best, (0, 1), value=self.boundary)
        self.best = torch.where((score > self.best_score)[:, None], sentence, self.best)
        self.best_score = self.best_score.maximum(score)
        self.ended.append(score)
        self.scores = best.masked_fill(finished, -torch.inf)
        return parents, places, chosen

    def leave(self) -> Tensor | None:
        """Let the utterances that are done go; the indices of those left (B',), or None where all are."""
        done = self._done()
        flags = done.tolist()
        if not any(flags):
            return None
        for place, utterance in enumerate(self.utterances):
            if flags[place]:
                sentence = self.best[place].tolist()
                self.results[utterance] = (sentence[: sentence.index(self.boundary)], float(self.best_score[place]))
        kept = (~done).nonzero().flatten()
        self.utterances = [utterance for utterance, gone in zip(self.utterances, flags, strict=True) if not gone]
        for name in ("longest", "shortest", "scores", "sentences", "best_score", "best"):
            setattr(self, name, getattr(self, name)[kept])
        self.ended = [scores[kept] for scores in self.ended]
        return kept

    def _done(self) -> Tensor:
        """Whether no running hypothesis can win any more, or none is likely to, (B,).

        Log probabilities only lower a score, so a hypothesis can gain no more than the bonus of each token to come.
        """
        length, bonus = self.sentences.shape[2], max(0.0, self.config.length_bonus)
        running = self.scores.amax(1)
        done = (self.best_score >= running + bonus * (self.longest - length)) | (running == -torch.inf)
        # As ESPnet has it, the lengths looked at end two tokens before the one just found.
        if self.config.detect_end and length > LENGTHS_ON_END + 1:
            recent = torch.stack(self.ended[length - LENGTHS_ON_END - 2 : length - 2])
            hopeless = (recent > -torch.inf) & (recent < self.best_score - HOPELESS)
            done |= hopeless.all(0)
        return done
