"""ESPnet's separators as ours: `tfgridnet`, and `wpe_beamformer` with an MVDR beamformer and without WPE."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained.espnet.options import Options
from sepasr_cli.pretrained.espnet.rules import Rule, same
from sepasr_cli.separation import SeparatorConfig
from sepasr_cli.separation.mask_mvdr import MaskMVDRConfig
from sepasr_cli.separation.tfgridnet import TFGridNetConfig
from sepasr_cli.settings import validate

LSTM = [f"{kind}_l0{way}" for way in ("", "_reverse") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def separator_config(options: Options, sample_rate: int, prefix: str = "") -> SeparatorConfig:
    """The configuration of `separator`, its `encoder` and its `decoder`, whose keys may have a prefix.

    Raises:
        SepasrError: where the separator is another one, or has settings of which we know no equal.
    """
    name = options.take(f"{prefix}separator")
    settings = options.below(f"{prefix}separator_conf")
    stft = [(options.take(f"{prefix}{part}"), options.below(f"{prefix}{part}_conf")) for part in ("encoder", "decoder")]
    options.expect(**{f"{prefix}diffusion_model": None})
    model = options.below(f"{prefix}model_conf")
    model.expect(normalize_variance_per_ch=False, always_forward_in_48k=False)
    if name == "tfgridnet":
        for kind, conf in stft:
            if kind != "same":
                raise SepasrError(f"{conf.where}: found {kind}, expected same, as tfgridnet has its own transform")
        values = _tfgridnet(settings)
        config: SeparatorConfig = validate(TFGridNetConfig, {"sample_rate": sample_rate} | values, settings.where)
    elif name == "wpe_beamformer":
        sizes = [_stft(kind, conf) for kind, conf in stft]
        if sizes[0] != sizes[1]:
            raise SepasrError(
                f"{options.where}: encoder and decoder differ ({sizes[0]}, {sizes[1]}); expected one STFT"
            )
        # A joint model does not bring its input to one level, whatever its separator was trained with.
        level = not prefix and bool(model.take("normalize_variance", False))
        values = {"sample_rate": sample_rate, "unit_level": level} | sizes[0] | _beamformer(settings)
        config = validate(MaskMVDRConfig, values, settings.where)
    else:
        raise SepasrError(f"{options.where}: separator is {name}; import knows tfgridnet and wpe_beamformer")
    settings.finish()
    return config


def _tfgridnet(options: Options) -> dict[str, Any]:
    options.expect(eps=1e-5, window="hann")
    options.ignore("use_builtin_complex")
    microphones = options.take("n_imics", 1)
    return {
        "speakers": options.take("n_srcs", 2),
        "microphones": microphones,
        # Nothing in their model depends on it; below 0 it counts from the last microphone.
        "reference_microphone": options.take("ref_channel", -1) % microphones,
        "fft_size": options.take("n_fft", 128),
        "hop": options.take("stride", 64),
        "blocks": options.take("n_layers", 6),
        "embedding": options.take("emb_dim", 48),
        "lstm": options.take("lstm_hidden_units", 192),
        "kernel": options.take("emb_ks", 4),
        "stride": options.take("emb_hs", 1),
        "heads": options.take("attn_n_head", 4),
        "qk_size": options.take("attn_approx_qk_dim", 512),
        "activation": options.choose(
            "activation", {"prelu": "prelu", "relu": "relu", "gelu": "gelu", "swish": "silu", "silu": "silu"}, "prelu"
        ),
    }


def _stft(kind: str, options: Options) -> dict[str, Any]:
    if kind != "stft":
        raise SepasrError(f"{options.where}: found {kind}, expected stft")
    size = options.take("n_fft", 512)
    options.choose("win_length", {None: None, size: size}, None)
    options.expect(window="hann", center=True, normalized=False, onesided=True, spec_transform_type=None)
    options.ignore("use_builtin_complex", "default_fs", "spec_factor", "spec_abs_exponent")
    hop = options.take("hop_length", 128)
    options.finish()
    return {"fft_size": size, "hop": hop}


def _beamformer(options: Options) -> dict[str, Any]:
    options.expect(use_wpe=False, use_beamformer=True, bnet_type="blstmp", use_torchaudio_api=False)
    for name in ("wnet_type", "wlayers", "wunits", "wprojs", "wdropout_rate", "taps", "delay", "wnonlinear"):
        options.ignore(name)
    options.ignore("use_dnn_mask_for_wpe", "multi_source_wpe", "wnormalization", "diag_eps_wpe", "flooring_thres_wpe")
    options.ignore("loss_type", "badim", "bdropout_rate", "shared_power", "use_torch_solver")
    reference = options.take("ref_channel", -1)
    if reference < 0:
        raise SepasrError(
            f"{options.where}: ref_channel is {reference}, a reference found by attention; import knows 0 and above"
        )
    floored, threshold = options.take("mask_flooring", False), options.take("flooring_thres_bf", 1e-6)
    loaded, loading = options.take("diagonal_loading", True), options.take("diag_eps_bf", 1e-7)
    return {
        "speakers": options.take("num_spk", 1),
        # The beamformer takes any number; its settings name none.
        "microphones": max(2, reference + 1),
        "reference_microphone": reference,
        "layers": options.take("blayers", 3),
        "lstm": options.take("bunits", 300),
        "projection": options.take("bprojs", 320),
        "noise_mask": options.take("use_noise_mask", True),
        "mask": options.choose(
            "bnonlinear", {"sigmoid": "sigmoid", "relu": "relu", "tanh": "tanh", "crelu": "clamp"}, "sigmoid"
        ),
        "mask_floor": threshold if floored else 0.0,
        "beamformer": options.choose("beamformer_type", {"mvdr_souden": "souden", "mvdr": "rtf"}, "mvdr_souden"),
        "power_iterations": options.take("rtf_iterations", 2),
        "diagonal_loading": loading if loaded else 0.0,
        "epsilon": 1e-8,
    }


def separator_rules(config: SeparatorConfig) -> Iterator[Rule]:
    """Our weights from theirs, whose names begin with `separator.`."""
    rules = _tfgridnet_rules(config) if isinstance(config, TFGridNetConfig) else _beamformer_rules(config)
    return (rule.prefixed("", "separator.") for rule in rules)


def _tfgridnet_rules(config: TFGridNetConfig) -> Iterator[Rule]:
    order = list(range(config.microphones))
    order[0], order[config.reference_microphone] = config.reference_microphone, 0
    yield Rule("encode.weight", ("conv.0.weight",), lambda x: x.unflatten(1, (2, -1))[:, :, order].flatten(1, 2))
    yield Rule("encode.bias", ("conv.0.bias",))
    yield from same("encode_norm", "conv.1")
    yield from same("decode", "deconv")
    for number in range(config.blocks):
        for rule in _grid_block(config):
            yield rule.prefixed(f"blocks.{number}.", f"blocks.{number}.")


def _grid_block(config: TFGridNetConfig) -> Iterator[Rule]:
    kernel, heads = config.kernel, config.heads
    for ours, theirs in (("full_band", "intra"), ("sub_band", "inter")):
        yield Rule(f"{ours}.norm.weight", (f"{theirs}_norm.gamma",), torch.flatten)
        yield Rule(f"{ours}.norm.bias", (f"{theirs}_norm.beta",), torch.flatten)
        for name in LSTM:
            make = _positions_first(kernel) if name.startswith("weight_ih") else lambda x: x
            yield Rule(f"{ours}.lstm.{name}", (f"{theirs}_rnn.{name}",), make)
        yield Rule(
            f"{ours}.deconvolution.weight", (f"{theirs}_linear.weight",), lambda x: x.permute(2, 1, 0).flatten(0, 1)
        )
        yield Rule(f"{ours}.bias", (f"{theirs}_linear.bias",))
    parts = [f"attn_conv_{part}_{head}" for part in "QKV" for head in range(heads)]
    for name in ("weight", "bias"):
        yield Rule(f"attention.qkv.{name}", tuple(f"{part}.0.{name}" for part in parts), _joined)
        yield Rule(f"attention.projection.{name}", (f"attn_concat_proj.0.{name}",), _joined)
    if config.activation == "prelu":
        yield Rule("attention.activation.slope", tuple(f"{part}.1.weight" for part in parts), _joined)
        yield Rule("attention.projection_activation.slope", ("attn_concat_proj.1.weight",))
    for ours, theirs in (("gains", "gamma"), ("offsets", "beta")):
        for number in range(3):
            names = tuple(f"{part}.2.{theirs}" for part in parts[number * heads : (number + 1) * heads])
            yield Rule(f"attention.{ours}.{number}", names, lambda *x: torch.stack([_turned(head)[None] for head in x]))
    for ours, theirs in (("weight", "gamma"), ("bias", "beta")):
        yield Rule(f"attention.projection_norm.{ours}", (f"attn_concat_proj.2.{theirs}",), _turned)


def _turned(gain: Tensor) -> Tensor:
    """(1, D, 1, F) to (F, D)."""
    return gain[0, :, 0].T


def _positions_first(kernel: int) -> Callable[[Tensor], Tensor]:
    """Their windows hold the positions of one feature together, ours the features of one position."""
    return lambda x: x.unflatten(1, (-1, kernel)).transpose(1, 2).flatten(1)


def _joined(*parts: Tensor) -> Tensor:
    """Convolutions of one frame and frequency, or biases, as one matrix or vector."""
    return torch.cat([part[:, :, 0, 0] if part.dim() == 4 else part for part in parts])


def _beamformer_rules(config: MaskMVDRConfig) -> Iterator[Rule]:
    mask = "beamformer.mask"
    for layer in range(config.layers):
        yield from same(f"estimator.lstms.{layer}", f"{mask}.brnn.birnn{layer}", LSTM)
        yield from same(f"estimator.projections.{layer}", f"{mask}.brnn.bt{layer}")
    sources = config.speakers + config.noise_mask
    for name in ("weight", "bias"):
        yield Rule(f"to_masks.{name}", tuple(f"{mask}.linears.{source}.{name}" for source in range(sources)), _joined)
