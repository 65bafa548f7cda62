"""The WavLM inside a `s3prl` frontend, by the names of its authors (UniLM), as transformers' WavLM."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained.espnet.rules import Rule, same

#: What all published WavLMs have in common and weights do not tell.
STRIDES, LARGEST_DISTANCE = [5, 2, 2, 2, 2, 2, 2], 800


def wavlm_architecture(state: Mapping[str, Tensor], origin: str) -> dict[str, Any]:
    """transformers' configuration of the WavLM that weights belong to, as plain data.

    Raises:
        SepasrError: where they lack what tells the sizes.
    """
    from transformers import WavLMConfig

    def weight(name: str) -> Tensor:
        if name not in state:
            raise SepasrError(f"{origin}: no weight {name}; expected a WavLM of {len(STRIDES)} convolutions")
        return state[name]

    convolutions = [weight(f"feature_extractor.conv_layers.{place}.0.weight") for place in range(len(STRIDES))]
    # The models with norms in all convolutions are those with norms before each part of a layer, too.
    by_layer = "feature_extractor.conv_layers.1.2.1.weight" in state
    size = weight("post_extract_proj.weight").shape[0]
    buckets, heads = weight("encoder.layers.0.self_attn.relative_attention_bias.weight").shape
    position = weight("encoder.pos_conv.0.weight_v")
    config = WavLMConfig(
        hidden_size=size,
        num_hidden_layers=sum(name.endswith(".fc1.weight") for name in state),
        num_attention_heads=heads,
        intermediate_size=weight("encoder.layers.0.fc1.weight").shape[0],
        conv_dim=[one.shape[0] for one in convolutions],
        conv_kernel=[one.shape[2] for one in convolutions],
        conv_stride=STRIDES,
        conv_bias="feature_extractor.conv_layers.0.0.bias" in state,
        num_conv_pos_embeddings=position.shape[2],
        num_conv_pos_embedding_groups=size // position.shape[1],
        num_buckets=buckets,
        max_bucket_distance=LARGEST_DISTANCE,
        feat_extract_norm="layer" if by_layer else "group",
        do_stable_layer_norm=by_layer,
        apply_spec_augment=False,
        layerdrop=0.0,
    )
    return {"model_type": "wavlm"} | config.to_diff_dict()


def wavlm_rules(architecture: dict[str, Any]) -> Iterator[Rule]:
    """transformers' weights from UniLM's."""
    from transformers import WavLMConfig

    config = WavLMConfig(**architecture)
    yield Rule("masked_spec_embed", ("mask_emb",))
    for place in range(len(config.conv_dim)):
        ours, theirs = (f"feature_extractor.conv_layers.{place}",) * 2
        yield from same(f"{ours}.conv", f"{theirs}.0", ["weight", "bias"] if config.conv_bias else ["weight"])
        if config.feat_extract_norm == "layer":
            yield from same(f"{ours}.layer_norm", f"{theirs}.2.1")
        elif place == 0:
            yield from same(f"{ours}.layer_norm", f"{theirs}.2")
    yield from same("feature_projection.layer_norm", "layer_norm")
    yield from same("feature_projection.projection", "post_extract_proj")
    position = "encoder.pos_conv_embed.conv"
    yield Rule(f"{position}.bias", ("encoder.pos_conv.0.bias",))
    yield Rule(f"{position}.parametrizations.weight.original0", ("encoder.pos_conv.0.weight_g",))
    yield Rule(f"{position}.parametrizations.weight.original1", ("encoder.pos_conv.0.weight_v",))
    yield from same("encoder.layer_norm", "encoder.layer_norm")
    for number in range(config.num_hidden_layers):
        for rule in _layer(number):
            yield rule.prefixed(f"encoder.layers.{number}.", f"encoder.layers.{number}.")


def _layer(number: int) -> Iterator[Rule]:
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from same(f"attention.{name}", f"self_attn.{name}")
    yield from same("attention.gru_rel_pos_linear", "self_attn.grep_linear")
    yield Rule("attention.gru_rel_pos_const", ("self_attn.grep_a",))
    if number == 0:
        yield Rule("attention.rel_attn_embed.weight", ("self_attn.relative_attention_bias.weight",))
    yield from same("layer_norm", "self_attn_layer_norm")
    yield from same("feed_forward.intermediate_dense", "fc1")
    yield from same("feed_forward.output_dense", "fc2")
    yield from same("final_layer_norm", "final_layer_norm")
