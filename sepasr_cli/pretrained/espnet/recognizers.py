"""ESPnet's recognisers (task `asr`) and Transformer language models (task `lm`) as ours."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.features import FilterbankConfig, SSLConfig
from sepasr_cli.pretrained.espnet.options import Options
from sepasr_cli.pretrained.espnet.rules import DROPPED, Rule, same
from sepasr_cli.pretrained.espnet.wavlm import wavlm_rules
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.language_model import LanguageModelConfig
from sepasr_cli.recognition.recognizer import RecognizerConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.settings import validate

SUBSAMPLING = {"conv2d": 4, "conv2d2": 2}

#: Settings that matter in training alone, or name files that are not needed any more.
ENCODER_TRAINING = ("positional_dropout_rate", "stochastic_depth_rate", "layer_drop_rate", "max_pos_emb_len")
DECODER_TRAINING = ("positional_dropout_rate", "layer_drop_rate", "gradient_checkpoint_layers", "use_flash_attn")
MODEL_TRAINING = ("report_cer", "report_wer", "length_normalized_loss", "extract_feats_in_collect_stats", "ignore_id")


def recognizer_config(
    options: Options, architecture: Callable[[], dict[str, Any]], prefix: str = ""
) -> RecognizerConfig:
    """The configuration of a recogniser, whose keys may have a prefix.

    Args:
        options: of the whole experiment.
        architecture: gives transformers' configuration of the WavLM that a `s3prl` frontend has.
        prefix: of its keys; those without one count where none has it.

    Raises:
        SepasrError: where a part is of a kind, or has settings, of which we know no equal.
    """

    def part(name: str, *choices: str | None) -> tuple[str | None, Options]:
        chosen, conf = options.take(name), options.below(f"{name}_conf")
        if options.has(f"{prefix}{name}"):
            chosen, conf = options.take(f"{prefix}{name}"), options.below(f"{prefix}{name}_conf")
        if chosen not in choices:
            known = ", ".join(str(choice) for choice in choices)
            raise SepasrError(f"{options.where}: {name} is {chosen}; import knows {known}")
        return chosen, conf

    part("postencoder", None)
    part("aux_ctc_tasks", None, [])  # type: ignore[arg-type]
    frontend, features = part("frontend", "default", "s3prl")
    rate = _hertz(features)
    preencoder, projection = part("preencoder", "linear", None)
    normalize, statistics = part("normalize", "utterance_mvn", "global_mvn", None)
    encoder, encoder_conf = part("encoder", "conformer", "transformer")
    decoder, decoder_conf = part("decoder", "transformer", None)
    specaug, masks = part("specaug", "specaug", None)
    model = options.below(f"{prefix}model_conf")
    model.expect(interctc_weight=0.0, sym_blank="<blank>", sym_sos="<sos/eos>", sym_eos="<sos/eos>", aux_ctc=None)
    model.expect(lang_token_id=-1, transducer_multi_blank_sigma=0.05)
    model.ignore(*MODEL_TRAINING, "sym_space", "autocast_frontend", "transducer_multi_blank_durations")
    heard = _filterbank(features) if frontend == "default" else _wavlm(features, architecture)
    size = heard["mels"] if frontend == "default" else heard["architecture"]["hidden_size"]
    values = {
        "sample_rate": rate,
        "features": heard,
        "normalize": _normalisation(normalize, statistics),
        "projection": projection.take("output_size") if preencoder else None,
        "encoder": {"kind": encoder} | _encoder(encoder_conf, conformer=encoder == "conformer"),
        "decoder": _decoder(decoder_conf),
        "specaugment": _specaugment(masks, size) if specaug else None,
        "ctc_weight": model.take("ctc_weight", 0.5),
        "label_smoothing": model.take("lsm_weight", 0.0),
        "vocabulary": vocabulary(options),
    }
    if decoder is None and values["ctc_weight"] < 1:
        raise SepasrError(f"{options.where}: decoder is None with a ctc_weight of {values['ctc_weight']}; expected 1")
    projection.ignore("input_size", "dropout")
    for below in (features, projection, encoder_conf, decoder_conf, model):
        below.finish()
    return validate(RecognizerConfig, values, options.where)


def vocabulary(options: Options) -> Vocabulary:
    """The tokens of an experiment."""
    options.choose("token_type", {"char": "characters"}, "bpe")
    tokens = options.take("token_list")
    if not isinstance(tokens, list):
        raise SepasrError(f"{options.where}: token_list is {type(tokens).__name__}; expected the list of tokens")
    return validate(Vocabulary, {"kind": "characters", "tokens": tokens}, f"{options.where}: token_list")


def _hertz(options: Options) -> int:
    rate = options.take("fs", 16000)
    return int(rate.lower().removesuffix("hz").removesuffix("k")) * 1000 if isinstance(rate, str) else rate


def _filterbank(options: Options) -> dict[str, Any]:
    options.expect(window="hann", center=True, normalized=False, onesided=True, apply_stft=True)
    # WPE and a beamformer before the filters; a joint model has its own.
    before = options.below("frontend_conf")
    before.expect(use_wpe=False, use_beamformer=False)
    high = options.take("fmax")
    return {
        "kind": "filterbank",
        "mels": options.take("n_mels", 80),
        "fft_size": options.take("n_fft", 512),
        "window": options.take("win_length"),
        "hop": options.take("hop_length", 128),
        "low_hz": options.take("fmin") or 0.0,
        "high_hz": high,
        "mel_scale": options.choose("htk", {False: "slaney", True: "htk"}, False),
        "edges": "mirror",
    }


def _wavlm(options: Options, architecture: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    inner = options.below("frontend_conf")
    name = inner.take("upstream")
    if not str(name).startswith("wavlm"):
        raise SepasrError(f"{inner.where}: upstream is {name}; import knows WavLM, as wavlm_large")
    inner.expect(normalize=False, tile_factor=1)
    inner.ignore("path_or_url", "extra_conf")
    inner.finish()
    options.expect(layer=-1)
    options.ignore("download_dir")
    found = architecture()
    return {
        "kind": "ssl",
        "name": name,
        "architecture": found,
        "layers": options.choose("multilayer_feature", {True: "all", False: "last"}, False),
        "reduction": None,
        # The published models with norms in all convolutions want it.
        "normalise": found["feat_extract_norm"] == "layer",
        "convention": "s3prl",
    }


def _normalisation(kind: str | None, options: Options) -> str:
    if kind is None:
        return "none"
    options.ignore("stats_file", "eps")
    means, variances = options.take("norm_means", True), options.take("norm_vars", kind == "global_mvn")
    options.finish()
    names = {
        ("global_mvn", True, True): "global",
        ("utterance_mvn", True, True): "utterance",
        ("utterance_mvn", True, False): "utterance_mean",
    }
    if (kind, means, variances) not in names:
        raise SepasrError(
            f"{options.where}: norm_means {means} and norm_vars {variances} of {kind}; import knows both true, "
            "and utterance_mvn with norm_means alone"
        )
    return names[kind, means, variances]


def _encoder(options: Options, conformer: bool) -> dict[str, Any]:
    options.ignore(*ENCODER_TRAINING, "use_flash_attn", "padding_idx", "positionwise_conv_kernel_size", "ctc_trim")
    options.expect(normalize_before=True, concat_after=False, positionwise_layer_type="linear", qk_norm=False)
    options.expect(interctc_use_conditioning=False)
    if options.take("interctc_layer_idx"):
        raise SepasrError(f"{options.where}: interctc_layer_idx names layers; import knows encoders without")
    values = {
        "blocks": options.take("num_blocks", 6),
        "size": options.take("output_size", 256),
        "heads": options.take("attention_heads", 4),
        "feed_forward": options.take("linear_units", 2048),
        "subsampling": options.choose("input_layer", SUBSAMPLING, "conv2d"),
        "dropout": options.take("dropout_rate", 0.1),
        "attention_dropout": options.take("attention_dropout_rate", 0.0),
    }
    if not conformer:
        options.expect(pos_enc_layer_type="abs_pos")
        return values
    options.choose("rel_pos_type", {"latest": None}, "legacy")
    options.choose("macaron_style", {True: None}, False)
    options.expect(pos_enc_layer_type="rel_pos", selfattention_layer_type="rel_selfattn", activation_type="swish")
    options.expect(use_cnn_module=True, zero_triu=False)
    return values | {"kernel": options.take("cnn_module_kernel", 31)}


def _decoder(options: Options) -> dict[str, Any]:
    options.ignore(*DECODER_TRAINING, "src_attention_dropout_rate")
    options.expect(input_layer="embed", use_output_layer=True, normalize_before=True, concat_after=False, qk_norm=False)
    return {
        "blocks": options.take("num_blocks", 6),
        "heads": options.take("attention_heads", 4),
        "feed_forward": options.take("linear_units", 2048),
        "dropout": options.take("dropout_rate", 0.1),
        "attention_dropout": options.take("self_attention_dropout_rate", 0.0),
    }


def _specaugment(options: Options, size: int) -> dict[str, Any]:
    def widest(key: str, default: int) -> int:
        span = options.take(key, default)
        return int(span[-1] if isinstance(span, list) else span)

    warps, by_feature, by_time = (
        options.take(f"apply_{what}", True) for what in ("time_warp", "freq_mask", "time_mask")
    )
    return {
        "time_warp": options.take("time_warp_window", 5) if warps else 0,
        "feature_masks": options.take("num_freq_mask", 2) if by_feature else 0,
        "feature_mask_share": min(1.0, widest("freq_mask_width_range", 20) / size),
        "time_masks": options.take("num_time_mask", 2) if by_time else 0,
        "time_mask_width": widest("time_mask_width_range", 40),
    }


def recognizer_rules(config: RecognizerConfig) -> Iterator[Rule]:
    """Our weights from theirs."""
    if isinstance(config.features, SSLConfig):
        upstream = "frontend.upstream.upstream.model."
        yield from (
            rule.prefixed("features.model.", upstream) for rule in wavlm_rules(config.features.architecture or {})
        )
        mixes = config.features.layers == "all"
        yield Rule("features.layer_weights" if mixes else DROPPED, ("frontend.featurizer.weights",))
    elif isinstance(config.features, FilterbankConfig):
        yield Rule(DROPPED, ("frontend.logmel.melmat",))  # the filters, which their sizes tell
    if config.normalize == "global":
        yield Rule("normalisation.mean", ("normalize.mean",))
        yield Rule("normalisation.deviation", ("normalize.std",))
    if config.projection is not None:
        yield from same("projection", "preencoder.linear_out")
    yield from (rule.prefixed("encoder.", "encoder.") for rule in _encoder_rules(config))
    yield from same("ctc_head", "ctc.ctc_lo")
    if config.ctc_weight < 1:
        yield Rule("decoder.embedding.weight", ("decoder.embed.0.weight",))
        yield from same("decoder.out", "decoder.output_layer")
        yield from _stack("decoder.stack", "decoder.decoders", config.decoder.blocks, cross=True)
        yield from same("decoder.stack.norm", "decoder.after_norm")


def _encoder_rules(config: RecognizerConfig) -> Iterator[Rule]:
    yield from same("subsampling.convolutions.0", "embed.conv.0")
    yield from same("subsampling.convolutions.2", "embed.conv.2")
    yield from same("subsampling.project", "embed.out.0")
    yield from same("norm", "after_norm")
    rules = _conformer_block if isinstance(config.encoder, ConformerConfig) else _transformer_block
    for number in range(config.encoder.blocks):
        yield from (rule.prefixed(f"blocks.{number}.", f"encoders.{number}.") for rule in rules())


def _attention(ours: str, theirs: str) -> Iterator[Rule]:
    for one, other in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out")):
        yield from same(f"{ours}.{one}", f"{theirs}.linear_{other}")


def _feed_forward(ours: str, theirs: str) -> Iterator[Rule]:
    yield from same(f"{ours}.0", f"{theirs}.w_1")
    yield from same(f"{ours}.3", f"{theirs}.w_2")


def _conformer_block() -> Iterator[Rule]:
    yield from _feed_forward("first", "feed_forward_macaron")
    yield from _feed_forward("second", "feed_forward")
    yield from _attention("attention", "self_attn")
    yield from same("attention.position", "self_attn.linear_pos", ["weight"])
    for ours, theirs in (("content_bias", "pos_bias_u"), ("position_bias", "pos_bias_v")):
        yield Rule(f"attention.{ours}", (f"self_attn.{theirs}",), lambda x: x[:, None])
    for ours, theirs in (("expand", "pointwise_conv1"), ("contract", "pointwise_conv2")):
        yield Rule(f"convolution.{ours}.weight", (f"conv_module.{theirs}.weight",), _pointwise)
        yield Rule(f"convolution.{ours}.bias", (f"conv_module.{theirs}.bias",))
    yield from same("convolution.depthwise", "conv_module.depthwise_conv")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    yield from same("convolution.norm", "conv_module.norm", ["weight", "bias", *statistics])
    norms = {"first": "ff_macaron", "attention": "mha", "convolution": "conv", "second": "ff", "final": "final"}
    for ours, theirs in norms.items():
        yield from same(f"norms.{ours}", f"norm_{theirs}")


def _pointwise(weight: Tensor) -> Tensor:
    """A convolution of one frame as a matrix."""
    return weight.squeeze(2)


def _transformer_block() -> Iterator[Rule]:
    yield from _attention("attention", "self_attn")
    yield from same("attention_norm", "norm1")
    yield from _feed_forward("feed_forward", "feed_forward")
    yield from same("feed_forward_norm", "norm2")


def _stack(ours: str, theirs: str, blocks: int, cross: bool) -> Iterator[Rule]:
    for number in range(blocks):
        layer, their_layer = f"{ours}.layers.{number}", f"{theirs}.{number}"
        yield from _attention(f"{layer}.own", f"{their_layer}.self_attn")
        norms = ["own_norm", "cross_norm", "feed_forward_norm"] if cross else ["own_norm", "feed_forward_norm"]
        for place, name in enumerate(norms, 1):
            yield from same(f"{layer}.{name}", f"{their_layer}.norm{place}")
        if cross:
            yield from _attention(f"{layer}.cross", f"{their_layer}.src_attn")
        yield from _feed_forward(f"{layer}.feed_forward", f"{their_layer}.feed_forward")


def language_model_config(options: Options) -> LanguageModelConfig:
    """The configuration of a Transformer language model.

    Raises:
        SepasrError: where it is another one, or has settings of which we know no equal.
    """
    options.choose("lm", {"transformer": None}, "seq_rnn")
    conf = options.below("lm_conf")
    conf.ignore("positional_dropout_rate")
    values = {
        "embedding": conf.take("embed_unit", 128),
        "size": conf.take("att_unit", 256),
        "heads": conf.take("head", 2),
        "feed_forward": conf.take("unit", 1024),
        "blocks": conf.take("layer", 4),
        "dropout": conf.take("dropout_rate", 0.1),
        "attention_dropout": conf.take("attention_dropout_rate", 0.1),
        "positions": conf.choose("pos_enc", {None: "none", "sinusoidal": "sinusoidal"}, None),
        "vocabulary": vocabulary(options),
    }
    conf.finish()
    return validate(LanguageModelConfig, values, options.where)


def language_model_rules(config: LanguageModelConfig) -> Iterator[Rule]:
    """Our weights from theirs, whose names begin with `lm.`."""
    yield Rule("embedding.weight", ("lm.embed.weight",))
    yield from same("enlarge.0", "lm.encoder.embed.0")
    yield from same("enlarge.1", "lm.encoder.embed.1")
    yield from _stack("stack", "lm.encoder.encoders", config.blocks, cross=False)
    yield from same("stack.norm", "lm.encoder.after_norm")
    yield from same("out", "lm.decoder")
