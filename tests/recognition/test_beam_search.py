import itertools
import math

import pytest
import torch

from sepasr_cli.recognition.beam_search import CTCPrefixScorer, DecodingConfig, Weighted, beam_search
from sepasr_cli.recognition.language_model import LanguageModel, LanguageModelConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.recognition.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

FRAMES, BOUNDARY = 4, 3  # of the tokens 0 (blank), 1, 2, and the boundary
VOCABULARY = Vocabulary.train(["aaaa"], "characters")
LM = LanguageModelConfig(blocks=1, size=8, heads=2, feed_forward=8, embedding=4, vocabulary=VOCABULARY)


def collapsed(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def brute_force(log_probs):
    """Probability of every sentence, summed over all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        probability = float(log_probs[range(len(log_probs)), list(path)].sum().exp())
        found[collapsed(path)] = found.get(collapsed(path), 0.0) + probability
    return found


@pytest.fixture
def log_probs():
    return torch.randn(FRAMES, BOUNDARY + 1, generator=torch.Generator().manual_seed(3)).double().log_softmax(-1)


def test_prefix_scores_equal_the_sum_over_all_paths(log_probs):
    sentences = brute_force(log_probs)
    scorer = CTCPrefixScorer(log_probs[None], torch.tensor([FRAMES]), BOUNDARY)
    # In these paths the boundary is a token as any other, in the scorer it ends the sentence.
    states = {(): scorer.start()}
    for length in range(FRAMES + 1):
        for prefix in [prefix for prefix in states if len(prefix) == length]:
            scores, ended = scorer.scores(states[prefix])
            assert float(ended.exp()) == pytest.approx(sentences.get(prefix, 0.0), abs=1e-9)
            assert scores[0, 0, [0, BOUNDARY]].tolist() == [-torch.inf, -torch.inf]
            some, _ = scorer.scores(states[prefix], torch.tensor([[[2, BOUNDARY, 1]]]))
            torch.testing.assert_close(some, scores[..., [2, BOUNDARY, 1]])
            for token in (1, 2):
                longer = (*prefix, token)
                expected = sum(value for key, value in sentences.items() if key[: len(longer)] == longer)
                assert float(scores[0, 0, token].exp()) == pytest.approx(expected, abs=1e-9)
                if length < FRAMES:
                    one = torch.tensor([[token]])
                    states[longer] = scorer.extend(states[prefix], torch.tensor([[0]]), one, scores[..., token])


def test_prefix_scores_of_long_utterances_stay_exact():
    """Against the recursion over frames as it is printed, where running sums reach thousands of nats."""
    torch.manual_seed(0)
    log_probs = (6 * torch.randn(800, 5)).double().log_softmax(-1)
    scorer = CTCPrefixScorer(log_probs[None], torch.tensor([800]), 4)
    state, prefix = scorer.start(), []
    for token in (1, 1, 2, 3, 3):
        scores, _ = scorer.scores(state)
        state = scorer.extend(state, torch.tensor([[0]]), torch.tensor([[token]]), scores[..., token])
        prefix.append(token)
    extended = [0]
    for token in prefix:
        extended += [token, 0]
    forward = torch.full((len(extended),), -torch.inf, dtype=torch.float64)
    forward[0], forward[1] = log_probs[0, 0], log_probs[0, 1]
    for frame in log_probs[1:]:
        new = forward.clone()
        new[1:] = torch.logaddexp(new[1:], forward[:-1])
        for place in range(3, len(extended), 2):
            if extended[place] != extended[place - 2]:
                new[place] = torch.logaddexp(new[place], forward[place - 2])
        forward = new + frame[extended]
    assert float(state.label[0, 0, -1]) == pytest.approx(float(forward[-2]), rel=1e-9)
    assert float(state.blank[0, 0, -1]) == pytest.approx(float(forward[-1]), rel=1e-9)


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("bonus", [0.0, 1.5])
@pytest.mark.parametrize("lm_weight", [0.0, 0.7])
@torch.no_grad()
def test_a_huge_beam_finds_what_an_exhaustive_search_finds(ctc_weight, bonus, lm_weight):
    torch.manual_seed(5)
    decoder = TransformerDecoder(TransformerDecoderConfig(blocks=1, heads=2, feed_forward=8), 8, BOUNDARY + 1).eval()
    model = LanguageModel(LM).eval()
    encoded, lengths = torch.randn(3, FRAMES, 8), torch.tensor([FRAMES, 2, 3])
    log_probs = torch.randn(3, FRAMES, BOUNDARY + 1).log_softmax(-1)
    weighted = [Weighted(decoder, decoder.start(encoded, lengths), 1 - ctc_weight)] if ctc_weight < 1 else []
    weighted += [Weighted(model, model.start(), lm_weight)] if lm_weight > 0 else []
    ctc = CTCPrefixScorer(log_probs, lengths, BOUNDARY) if ctc_weight > 0 else None
    found = beam_search(lengths, BOUNDARY, DecodingConfig(beam=500, length_bonus=bonus), weighted, ctc, ctc_weight)

    def score(number, sentence, by_ctc):
        """The end of the longest sentences does not count; CTC is as sure of their beginning as of the whole."""
        answer = torch.tensor([*sentence, BOUNDARY][: int(lengths[number])])
        one, given = slice(number, number + 1), torch.tensor([[BOUNDARY, *sentence]])
        places = range(len(answer))
        total = bonus * len(answer) + ctc_weight * math.log(by_ctc.get(sentence, 1e-99))
        by_decoder, by_model = decoder(encoded[one], lengths[one], given), model.logits(given)
        for logits, weight in ((by_decoder, 1 - ctc_weight), (by_model, lm_weight)):
            total += weight * float(logits.log_softmax(-1)[0, places, answer].sum())
        return total

    for number, frames in enumerate(lengths.tolist()):
        by_ctc = brute_force(log_probs[number, :frames])
        sentences = [one for length in range(frames + 1) for one in itertools.product((1, 2), repeat=length)]
        scores = {sentence: score(number, sentence, by_ctc) for sentence in sentences}
        best = max(scores, key=scores.__getitem__)
        assert tuple(found[number][0]) == best
        assert found[number][1] == pytest.approx(scores[best], abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(beam=4),
        DecodingConfig(beam=3, pre_beam=None, length_bonus=0.5),
        DecodingConfig(beam=1, detect_end=False, min_length_ratio=0.2),
        DecodingConfig(beam=5, pre_beam=0.1),
    ],
)
@pytest.mark.parametrize("ctc_weight", [0.0, 0.4, 1.0])
def test_a_batch_gives_what_each_utterance_gives_alone(config, ctc_weight):
    torch.manual_seed(1)
    decoder = TransformerDecoder(TransformerDecoderConfig(blocks=2, heads=2, feed_forward=8), 8, 12).eval()
    decoder.out.weight.mul_(4)
    encoded, log_probs = torch.randn(6, 30, 8), (3 * torch.randn(6, 30, 12)).log_softmax(-1)
    lengths = torch.tensor([30, 1, 17, 25, 2, 8])

    def search(rows, frames):
        part, ctc_part = encoded[rows, :frames], log_probs[rows, :frames]
        weighted = [Weighted(decoder, decoder.start(part, lengths[rows]), 1 - ctc_weight)] if ctc_weight < 1 else []
        ctc = CTCPrefixScorer(ctc_part, lengths[rows], 11) if ctc_weight > 0 else None
        return beam_search(lengths[rows], 11, config, weighted, ctc, ctc_weight)

    together = search(slice(None), 30)
    assert len({len(tokens) for tokens, _ in together}) > 1
    for number, length in enumerate(lengths.tolist()):
        [(tokens, score)] = search(slice(number, number + 1), length)
        assert tokens == together[number][0]
        assert score == pytest.approx(together[number][1], abs=1e-4)


def by_ctc_alone(log_probs, config):
    lengths = torch.full((len(log_probs),), log_probs.shape[1])
    return beam_search(lengths, BOUNDARY, config, [], CTCPrefixScorer(log_probs, lengths, BOUNDARY), 1.0)


def test_no_utterances_give_no_sentences():
    assert by_ctc_alone(torch.zeros(0, 3, BOUNDARY + 1), DecodingConfig()) == []


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("config", [DecodingConfig(), DecodingConfig(beam=1), DecodingConfig(min_length_ratio=1.0)])
def test_there_is_always_a_finished_sentence(frames, config):
    """Also where blanks alone are probable, and where more tokens are wanted than frames can hold."""
    log_probs = torch.tensor([[50.0, 0.0, 0.0, 0.0]] * frames).log_softmax(-1)
    [(tokens, score)] = by_ctc_alone(log_probs[None], config)
    assert score > -torch.inf
    assert len(tokens) == (frames if config.min_length_ratio else 0)


def test_lengths_are_bounded(log_probs):
    [(tokens, _)] = by_ctc_alone(log_probs[None], DecodingConfig(length_bonus=100.0, max_length_ratio=0.5))
    assert len(tokens) == 2


def test_the_end_is_detected():
    """Each frame says token 1, then blanks; the ends of longer and longer sentences are hopeless."""
    log_probs = torch.full((1, 40, 4), -30.0)
    log_probs[0, 0, 1] = log_probs[0, 1:, 0] = 0.0
    log_probs = log_probs.log_softmax(-1)
    lengths = torch.tensor([40])

    class Counting(CTCPrefixScorer):
        steps = 0

        def scores(self, state, tokens=None):
            self.steps += 1
            return super().scores(state, tokens)

    counts = []
    for detect in (True, False):
        config = DecodingConfig(length_bonus=20.0, max_length_ratio=0.5, detect_end=detect)
        scorer = Counting(log_probs, lengths, 3)
        [(tokens, _)] = beam_search(lengths, 3, config, [], scorer, 1.0)
        assert tokens == [1]
        counts.append(scorer.steps)
    assert counts[0] < counts[1]
