"""Joint beam search against ESPnet's BatchBeamSearch, with the same weights: the paper's decoder and language model.

Encoder outputs of 8 s (199 frames) are made so that CTC hears sentences of 100 characters; decoder and language model
have random weights, which cost what trained ones do. ESPnet searches utterance by utterance, so that a batch takes it
so many times what one utterance takes. That both find the same sentences is checked before anything is timed.
"""

from argparse import Namespace

import torch
from espnet_search import SearchTwin
from measure import Row, alternately, parse, report
from torch import Tensor, nn

from sepasr_cli.recognition.beam_search import CTCPrefixScorer, DecodingConfig, Weighted, beam_search
from sepasr_cli.recognition.language_model import LanguageModel, LanguageModelConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.recognition.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

SIZE, FRAMES, TOKENS, BATCH = 256, 199, 100, 8
VOCABULARY = Vocabulary.train(["abcdefghijklmnopqrstuvwxyz0123456789 '.,-&%?!:;()/"], "characters")


def main() -> None:
    """Measure and print."""
    options = parse(__doc__)
    rows = []
    for lm_weight in (0.0, 1.0):
        rows += _compare(DecodingConfig(lm_weight=lm_weight), options)
    report("beam_search", rows, options.device)


@torch.no_grad()
def _compare(config: DecodingConfig, options: Namespace) -> list[Row]:
    count, device = len(VOCABULARY.tokens), options.device
    decoder = TransformerDecoder(TransformerDecoderConfig(), SIZE, count).to(device).eval()
    model = LanguageModel(LanguageModelConfig(vocabulary=VOCABULARY)).to(device).eval() if config.lm_weight else None
    ctc_head = nn.Linear(SIZE, count).to(device)
    encoded = _heard(ctc_head)
    twin = SearchTwin(ctc_head, decoder, model, config)

    def ours(part: Tensor) -> list[tuple[list[int], float]]:
        lengths = torch.full((len(part),), part.shape[1], device=device)
        weighted = [Weighted(decoder, decoder.start(part, lengths), 1 - config.ctc_weight)]
        if model is not None:
            weighted.append(Weighted(model, model.start(), config.lm_weight))
        ctc = CTCPrefixScorer(ctc_head(part).log_softmax(-1), lengths, count - 1)
        return beam_search(lengths, count - 1, config, weighted, ctc, config.ctc_weight)

    for (found, score), one in zip(ours(encoded), encoded, strict=True):
        expected, expected_score = twin(one)
        assert found == expected and abs(score / expected_score - 1) < 1e-4, (found, score, expected, expected_score)
    seconds = alternately(
        {"peer": lambda: twin(encoded[0]), "one": lambda: ours(encoded[:1]), "batch": lambda: ours(encoded)}, options
    )
    what = f"{len(found)} tokens, {'with' if model else 'without'} language model"
    return [
        Row(f"one utterance, {what}", seconds["peer"], seconds["one"], 10),
        Row(f"batch of {BATCH}, {what}", BATCH * seconds["peer"], seconds["batch"], 10),
    ]


def _heard(ctc_head: nn.Linear) -> Tensor:
    """Encoder outputs (B, T, D) in which CTC hears random sentences, each token for a frame with a blank after it."""
    tokens = torch.randint(2, ctc_head.out_features - 1, (BATCH, TOKENS))
    frames = torch.stack([tokens, torch.zeros_like(tokens)], dim=2).flatten(1)[:, :FRAMES]
    wanted = 12 * nn.functional.one_hot(frames, ctc_head.out_features).float()
    noise = 0.5 * torch.randn(BATCH, FRAMES, SIZE)
    return wanted.to(ctc_head.weight) @ torch.linalg.pinv(ctc_head.weight).T + noise.to(ctc_head.weight)


if __name__ == "__main__":
    main()
