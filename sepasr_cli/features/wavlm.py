"""The pass through a WavLM of transformers, in less time: same weights, same mathematics, layer by layer.

S. Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing" (arXiv 2110.13900).
The convolutions are matrix products over windows of [B, T, C]; attention is PyTorch's fused one, with the gated
relative position bias for a mask; a layer is handed out as soon as it is there, so that none need be kept.

Letters: B batch, N sample, T frame, C channel of the convolutions, D feature, H head.
"""

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepasr_cli import onednn


def applies(model: Any) -> bool:
    """Whether `hidden_layers` knows the model: a WavLM in evaluation mode, which drops nothing."""
    return bool(model.config.model_type == "wavlm" and not model.training)


def hidden_layers(model: Any, audio: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
    """The input of the first layer, and the output of each, (B, T, D), the last one after the last normalisation.

    Args:
        model: transformers' WavLMModel, in evaluation mode.
        audio: (B, N), as the model wants it.
        mask: 1 at an example's own samples, 0 in the padding after them, (B, N); None where there is no padding.
    """
    x = convolved(model.feature_extractor, audio)
    padded = mask is not None and not bool(mask.all())
    inside = model._get_feature_vector_attention_mask(x.shape[1], mask) if padded else None
    x = _linear(model.feature_projection.layer_norm(x), model.feature_projection.projection)
    x = x.float() if inside is None else x.float() * inside[..., None]
    encoder, norm_first = model.encoder, model.config.do_stable_layer_norm
    x = x + encoder.pos_conv_embed(x)
    if not norm_first:
        x = encoder.layer_norm(x)
    yield x
    # Heads first in memory too, as attention reads it: it comes with the heads last.
    bias = encoder.layers[0].attention.compute_bias(x.shape[1], x.shape[1]).contiguous()
    for layer in encoder.layers:
        if norm_first:
            x = x + _attended(layer.attention, layer.layer_norm(x), bias, inside)
            x = x + _fed_forward(layer.feed_forward, layer.final_layer_norm(x))
        else:
            x = layer.layer_norm(x + _attended(layer.attention, x, bias, inside))
            x = layer.final_layer_norm(x + _fed_forward(layer.feed_forward, x))
        yield encoder.layer_norm(x) if norm_first and layer is encoder.layers[-1] else x


def convolved(extractor: Any, audio: Tensor) -> Tensor:
    """Audio (B, N) through the convolutional front end, (B, T, C)."""
    x = audio[..., None]
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    for layer in extractor.conv_layers:
        x = _convolution(x, layer.conv)
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            x = norm(x.mT).mT
        elif norm is not None:
            x = norm(x)
        x = layer.activation(x)
    return x


def _convolution(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """A convolution of (B, T, C), in parts of the kernel as wide as the stride, whose windows need no copy."""
    kernel, stride, channels = conv.kernel_size[0], conv.stride[0], x.shape[2]
    frames = (x.shape[1] - kernel) // stride + 1
    weight = conv.weight.transpose(1, 2).to(x.dtype)  # (outputs, kernel, inputs)
    width = stride if channels > 1 else kernel
    flat, total = x.flatten(1), None
    for start in range(0, kernel, width):
        taps = min(width, kernel - start)
        windows = flat[:, start * channels :].unfold(1, taps * channels, stride * channels)[:, :frames]
        part = onednn.linear(windows, weight[:, start : start + taps].flatten(1))
        total = part if total is None else total + part
    assert total is not None
    return total if conv.bias is None else total + conv.bias.to(x.dtype)


def _attended(attention: Any, x: Tensor, bias: Tensor, inside: Tensor | None) -> Tensor:
    """Self-attention of (B, T, D), with the position bias (H, T, T) scaled by a gate of each frame and head."""
    linear = attention.gru_rel_pos_linear  # what it gives is summed by fours
    weight, offset = (parameter.unflatten(0, (2, 4)).sum(1) for parameter in (linear.weight, linear.bias))
    with torch.autocast(x.device.type, enabled=False):
        gate = functional.linear(x.float().unflatten(-1, (attention.num_heads, -1)), weight, offset).sigmoid()
    first, second = gate.transpose(1, 2).split(1, dim=-1)
    scores = (first * (second * attention.gru_rel_pos_const - 1) + 2) * bias  # (B, H, T, T)
    if inside is not None:
        scores = scores.masked_fill(~inside[:, None, None], -torch.inf)
    query, key, value = (
        _heads(_linear(x, projection), attention.num_heads)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    with torch.autocast(x.device.type, enabled=False):
        y = functional.scaled_dot_product_attention(query, key, value, scores.to(_mask_type(query)))
    return _linear(y.transpose(1, 2).flatten(2), attention.out_proj)


def _mask_type(query: Tensor) -> torch.dtype:
    """On a CPU the bias stays in full precision beside queries of half precision."""
    return torch.float32 if query.device.type == "cpu" else query.dtype


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _fed_forward(module: Any, x: Tensor) -> Tensor:
    return _linear(module.intermediate_act_fn(_linear(x, module.intermediate_dense)), module.output_dense)


#: Frozen weights in half precision: what autocast would make of them again at every pass.
_HALVED: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], Tensor, Tensor]] = WeakKeyDictionary()


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or layer.weight.requires_grad:
        return onednn.linear(x, layer.weight, layer.bias)
    dtype = torch.get_autocast_dtype(kind)
    state = (layer.weight.data_ptr(), layer.weight._version, layer.weight.device, dtype)
    kept = _HALVED.get(layer)
    if kept is None or kept[0] != state:
        kept = _HALVED[layer] = (state, layer.weight.detach().to(dtype), layer.bias.detach().to(dtype))
    return functional.linear(x.to(dtype), kept[1], kept[2])
