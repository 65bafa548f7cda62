"""ESPnet's joint beam search with the weights of ours: the peer, which must find the same sentences."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.transformer_decoder import Attention, TransformerDecoder, TransformerLayer


class SearchTwin:
    """espnet's BatchBeamSearch, set up as `espnet2.bin.asr_inference` does, for one utterance at a time.

    Args:
        ctc_head: encoder output to logits.
        decoder: ours, in evaluation mode.
        language_model: ours, or None.
        config: how to search; its settings that ESPnet does not know must have their defaults.
    """

    def __init__(
        self,
        ctc_head: nn.Linear,
        decoder: TransformerDecoder,
        language_model: LanguageModel | None,
        config: DecodingConfig,
    ) -> None:
        from espnet.nets.batch_beam_search import BatchBeamSearch
        from espnet.nets.scorers.ctc import CTCPrefixScorer
        from espnet.nets.scorers.length_bonus import LengthBonus
        from espnet2.asr.ctc import CTC

        logging.getLogger("espnet").setLevel(logging.ERROR)
        vocabulary, size = decoder.embedding.weight.shape
        ctc = CTC(vocabulary, size)
        ctc.ctc_lo.load_state_dict(ctc_head.state_dict())
        scorers: dict[str, Any] = {
            "decoder": decoder_twin(decoder),
            "ctc": CTCPrefixScorer(ctc.to(ctc_head.weight).eval(), vocabulary - 1),
            "length_bonus": LengthBonus(vocabulary),
        }
        if language_model is not None:
            scorers["lm"] = language_model_twin(language_model)
        self.vocabulary, self.config = vocabulary, config
        self.search = BatchBeamSearch(
            scorers,
            {
                "decoder": 1 - config.ctc_weight,
                "ctc": config.ctc_weight,
                "lm": config.lm_weight,
                "length_bonus": config.length_bonus,
            },
            beam_size=config.beam,
            vocab_size=vocabulary,
            sos=vocabulary - 1,
            eos=vocabulary - 1,
            pre_beam_score_key=None if config.ctc_weight == 1 else "full",
        )

    @torch.no_grad()
    def __call__(self, encoded: Tensor) -> tuple[list[int], float]:
        """The best sentence for (T, D), without boundaries, and its score."""
        best = self.search(encoded, maxlenratio=0.0, minlenratio=self.config.min_length_ratio)[0]
        return [token for token in best.yseq.tolist() if token != self.vocabulary - 1], float(best.score)


def decoder_twin(decoder: TransformerDecoder) -> nn.Module:
    """espnet2's TransformerDecoder."""
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder as Peer

    vocabulary, size = decoder.embedding.weight.shape
    first = decoder.stack.layers[0]
    assert isinstance(first, TransformerLayer)
    peer = Peer(
        vocabulary,
        size,
        attention_heads=first.own.heads,
        linear_units=first.feed_forward[0].out_features,
        num_blocks=len(decoder.stack.layers),
    )
    weights = _layer("embed.0", decoder.embedding) | _layer("after_norm", decoder.stack.norm)
    weights |= _layer("output_layer", decoder.out)
    for number, layer in enumerate(decoder.stack.layers):
        assert isinstance(layer, TransformerLayer) and layer.cross is not None and layer.cross_norm is not None
        name = f"decoders.{number}"
        weights |= _attention(f"{name}.self_attn", layer.own) | _attention(f"{name}.src_attn", layer.cross)
        weights |= _layer(f"{name}.norm1", layer.own_norm) | _layer(f"{name}.norm2", layer.cross_norm)
        weights |= _layer(f"{name}.norm3", layer.feed_forward_norm) | _feed_forward(f"{name}.feed_forward", layer)
    return _filled(peer, weights)


def language_model_twin(model: LanguageModel) -> nn.Module:
    """espnet2's TransformerLM."""
    from espnet2.lm.transformer_lm import TransformerLM as Peer

    config = model.config
    peer = Peer(
        len(model.vocabulary.tokens),
        pos_enc=None if config.positions == "none" else config.positions,
        embed_unit=config.embedding,
        att_unit=config.size,
        head=config.heads,
        unit=config.feed_forward,
        layer=config.blocks,
    )
    weights = _layer("embed", model.embedding) | _layer("decoder", model.out)
    weights |= _layer("encoder.embed.0", model.enlarge[0]) | _layer("encoder.embed.1", model.enlarge[1])
    weights |= _layer("encoder.after_norm", model.stack.norm)
    for number, layer in enumerate(model.stack.layers):
        assert isinstance(layer, TransformerLayer)
        name = f"encoder.encoders.{number}"
        weights |= _attention(f"{name}.self_attn", layer.own) | _feed_forward(f"{name}.feed_forward", layer)
        weights |= _layer(f"{name}.norm1", layer.own_norm) | _layer(f"{name}.norm2", layer.feed_forward_norm)
    return _filled(peer, weights)


def _layer(name: str, layer: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in layer.state_dict().items()}


def _attention(name: str, attention: Attention) -> dict[str, Tensor]:
    layers = zip("qkv", (attention.query, attention.key, attention.value), strict=True)
    weights = _layer(f"{name}.linear_out", attention.out)
    for letter, layer in layers:
        weights |= _layer(f"{name}.linear_{letter}", layer)
    return weights


def _feed_forward(name: str, layer: TransformerLayer) -> dict[str, Tensor]:
    return _layer(f"{name}.w_1", layer.feed_forward[0]) | _layer(f"{name}.w_2", layer.feed_forward[3])


def _filled(peer: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    peer.load_state_dict(weights)
    return peer.to(next(iter(weights.values()))).eval()
