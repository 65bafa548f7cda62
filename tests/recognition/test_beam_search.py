import itertools

import pytest
import torch

from sepasr_cli.recognition.beam_search import CTCPrefixScorer, DecodingConfig, Weighted, beam_search
from sepasr_cli.recognition.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

FRAMES, BOUNDARY = 4, 3  # of the tokens 0 (blank), 1, 2, and the boundary


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
    scorer = CTCPrefixScorer(log_probs, BOUNDARY)
    # In these paths the boundary is a token as any other, in the scorer it ends the sentence.
    states = {(): scorer.start()}
    for length in range(FRAMES + 1):
        for prefix in [prefix for prefix in states if len(prefix) == length]:
            scores = scorer.scores(states[prefix])
            assert float(scores[0, BOUNDARY].exp()) == pytest.approx(sentences.get(prefix, 0.0), abs=1e-9)
            assert scores[0, 0] == -torch.inf
            for token in (1, 2):
                longer = (*prefix, token)
                expected = sum(value for key, value in sentences.items() if key[: len(longer)] == longer)
                assert float(scores[0, token].exp()) == pytest.approx(expected, abs=1e-9)
                if length < FRAMES:
                    states[longer] = scorer.extend(states[prefix], torch.tensor([0]), torch.tensor([token]), scores)


def test_prefix_scores_of_long_utterances_stay_exact():
    """Against the recursion over frames as it is printed, where running sums reach thousands of nats."""
    torch.manual_seed(0)
    log_probs = (6 * torch.randn(800, 5)).double().log_softmax(-1)
    scorer = CTCPrefixScorer(log_probs, 4)
    state, prefix = scorer.start(), []
    for token in (1, 1, 2, 3, 3):
        state = scorer.extend(state, torch.tensor([0]), torch.tensor([token]), scorer.scores(state))
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
    assert float(state.label[0, -1]) == pytest.approx(float(forward[-2]), rel=1e-9)
    assert float(state.blank[0, -1]) == pytest.approx(float(forward[-1]), rel=1e-9)


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("bonus", [0.0, 1.5])
def test_a_huge_beam_finds_what_an_exhaustive_search_finds(log_probs, ctc_weight, bonus):
    torch.manual_seed(5)
    decoder = TransformerDecoder(TransformerDecoderConfig(blocks=1, heads=2, feed_forward=8), 8, BOUNDARY + 1).eval()
    encoded = torch.randn(1, FRAMES, 8)
    by_ctc = brute_force(log_probs)
    best, expected = (), -torch.inf
    with torch.no_grad():
        for length in range(FRAMES + 1):
            for sentence in itertools.product((1, 2), repeat=length):
                probability = by_ctc.get(sentence, 0.0)
                if ctc_weight > 0 and probability == 0:
                    continue
                given = torch.tensor([[BOUNDARY, *sentence]])
                steps = decoder(encoded, torch.tensor([FRAMES]), given).log_softmax(-1)[0]
                score = (1 - ctc_weight) * float(steps[range(length + 1), [*sentence, BOUNDARY]].sum()) + bonus * length
                if ctc_weight > 0:
                    score += ctc_weight * float(torch.tensor(probability).log())
                if score > expected:
                    best, expected = sentence, score
        found, score = beam_search(
            FRAMES,
            BOUNDARY,
            DecodingConfig(beam=500, length_bonus=bonus),
            [Weighted(decoder, decoder.start(encoded), 1 - ctc_weight)] if ctc_weight < 1 else [],
            CTCPrefixScorer(log_probs, BOUNDARY) if ctc_weight > 0 else None,
            ctc_weight,
            torch.device("cpu"),
        )
    assert tuple(found) == best
    assert score == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("config", [DecodingConfig(), DecodingConfig(beam=1), DecodingConfig(min_length_ratio=1.0)])
def test_there_is_always_a_finished_sentence(frames, config):
    """Also where blanks alone are probable, and where more tokens are wanted than frames can hold."""
    log_probs = torch.tensor([[50.0, 0.0, 0.0, 0.0]] * frames).log_softmax(-1)
    tokens, score = beam_search(
        frames, BOUNDARY, config, [], CTCPrefixScorer(log_probs, BOUNDARY), 1.0, torch.device("cpu")
    )
    assert score > -torch.inf
    assert len(tokens) == (frames if config.min_length_ratio else 0)


def test_lengths_are_bounded(log_probs):
    longest = DecodingConfig(length_bonus=100.0, max_length_ratio=0.5)
    tokens, _ = beam_search(
        FRAMES, BOUNDARY, longest, [], CTCPrefixScorer(log_probs, BOUNDARY), 1.0, torch.device("cpu")
    )
    assert len(tokens) == 2
