"""The faster pass through WavLM gives what transformers' gives: every layer, with padding, and the audio's gradient."""

import pytest
import torch
from torch import Tensor

import sepasr_cli  # noqa: F401  before transformers, for torchaudio
from sepasr_cli.features import wavlm

from transformers import WavLMConfig, WavLMModel  # isort: skip


def tiny(norm: str, bias: bool = True) -> WavLMModel:
    torch.manual_seed(0)
    # 16 channels in each group of the positions' convolution: 8 or 12 come out wrong in bfloat16 on processors with AMX
    # (oneDNN in PyTorch 2.13).
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    convolutions = {"conv_dim": [8, 8, 8], "conv_kernel": [10, 3, 2], "conv_stride": [5, 2, 2]}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "num_buckets": 16}
    config = WavLMConfig(
        **sizes,
        **convolutions,
        **positions,
        conv_bias=bias,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
    )
    model = WavLMModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.requires_grad_(False)


def theirs(model: WavLMModel, audio: Tensor, mask: Tensor | None) -> list[Tensor]:
    found = model(audio, attention_mask=mask, output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("lengths", [None, [1003, 1003], [1003, 400]])
def test_every_layer_and_the_gradient(norm: str, bias: bool, lengths: list[int] | None) -> None:
    model, audio = tiny(norm, bias), torch.randn(2, 1003)
    mask = None if lengths is None else (torch.arange(1003) < torch.tensor(lengths)[:, None]).long()
    gradients, layers = [], []
    for passes in (theirs, wavlm.hidden_layers):
        leaf = audio.clone().requires_grad_()
        layers.append(list(passes(model, leaf, mask)))
        sum(layer.square().mean() for layer in layers[-1]).backward()
        gradients.append(leaf.grad)
    assert len(layers[0]) == len(layers[1]) == 4
    for one, other in zip(*layers, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)


def test_half_precision_is_close_and_follows_new_weights() -> None:
    model, audio = tiny("layer"), torch.randn(1, 1003)
    with torch.inference_mode():
        for _ in range(2):
            wanted = theirs(model, audio, None)
            with torch.autocast("cpu", torch.bfloat16):
                found = list(wavlm.hidden_layers(model, audio, None))
            for one, other in zip(wanted, found, strict=True):
                assert 0 < (other - one).norm() < 0.015 * one.norm()
            with torch.no_grad():
                model.encoder.layers[0].attention.v_proj.weight.mul_(-1)


def test_only_a_wavlm_that_evaluates() -> None:
    assert wavlm.applies(tiny("layer")) and not wavlm.applies(tiny("layer").train())
