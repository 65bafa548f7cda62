"""The joint beam search against ESPnet's BatchBeamSearch: the same sentences, with the same scores."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sepasr_cli  # noqa: F401, lets torchaudio be imported beside any PyTorch
from sepasr_cli.recognition.beam_search import CTCPrefixScorer, DecodingConfig, Weighted, beam_search
from sepasr_cli.recognition.language_model import LanguageModel, LanguageModelConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.recognition.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

pytest.importorskip("espnet2", reason="ESPnet is not installed; `make parity` installs it")

PEER = Path(__file__).parents[2] / "benchmarks" / "espnet_search.py"
SIZE, FRAMES, CASES = 32, 40, 50
VOCABULARY = Vocabulary.train(["abcdefghijklmnopqrstuvwxyz '"], "characters")


def search_twin(*args: Any) -> Any:
    spec = importlib.util.spec_from_file_location("espnet_search", PEER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SearchTwin(*args)


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(lm_weight=1.0),
        DecodingConfig(),
        DecodingConfig(beam=4, ctc_weight=0.6, lm_weight=0.3, length_bonus=0.7),
        DecodingConfig(ctc_weight=1.0, lm_weight=0.5),
        DecodingConfig(ctc_weight=0.0, lm_weight=0.5, beam=3),
    ],
    ids=["paper", "no language model", "length bonus", "CTC and language model", "attention and language model"],
)
@torch.no_grad()
def test_the_same_sentences_as_espnet(config: DecodingConfig, agree: Any, request: Any) -> None:
    """50 random cases, in double precision: models confident enough that sentences have many lengths."""
    torch.manual_seed(0)
    count = len(VOCABULARY.tokens)
    sizes = {"blocks": 2, "heads": 4, "feed_forward": 64}
    different, lengths = [], set()
    for case in range(CASES):
        decoder = TransformerDecoder(TransformerDecoderConfig(**sizes), SIZE, count).double().eval()
        model = LanguageModel(LanguageModelConfig(**sizes, size=SIZE, embedding=16, vocabulary=VOCABULARY))
        model = model.double().eval()
        ctc_head = nn.Linear(SIZE, count).double()
        decoder.out.weight.mul_(2 + 3 * torch.rand(()))
        model.out.weight.mul_(2 + 3 * torch.rand(()))
        ctc_head.weight.mul_(4 + 8 * torch.rand(()))
        ctc_head.bias[0] += 3
        for layer in (decoder.out, model.out):  # which never learn the blank; without CTC, ESPnet would take it
            layer.bias[0] = -100
        encoded = torch.randn(FRAMES - case % 25, SIZE, dtype=torch.float64)
        twin = search_twin(ctc_head, decoder, model if config.lm_weight else None, config)
        expected, expected_score = twin(encoded)

        frames, boundary = torch.tensor([len(encoded)]), count - 1
        weighted = [Weighted(decoder, decoder.start(encoded[None], frames), 1 - config.ctc_weight)]
        weighted = weighted if config.ctc_weight < 1 else []
        weighted += [Weighted(model, model.start(), config.lm_weight)] if config.lm_weight else []
        ctc = CTCPrefixScorer(ctc_head(encoded[None]).log_softmax(-1), frames, boundary)
        weight = config.ctc_weight
        [(found, score)] = beam_search(frames, boundary, config, weighted, ctc if weight else None, weight)
        if found != expected:
            different.append((case, found, score, expected, expected_score))
        name = f"{request.node.callspec.id}, scores of {CASES} sentences"
        ours, theirs = torch.tensor([score, expected_score], dtype=torch.float64)
        agree("joint beam search", name, ours, theirs, tolerance=1e-4, scale=1.0)
        lengths.add(len(expected))
    assert not different
    assert len(lengths) > 10
