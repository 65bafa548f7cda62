"""ESPnet's models with the weights of ours: the peers, which must give the same output."""

import torch
from torch import Tensor, nn

from sepasr_cli.separation import MaskMVDR, TFGridNet
from sepasr_cli.separation.tfgridnet import FrameAttention, GridPath


class TFGridNetTwin(nn.Module):
    """espnet2's TFGridNet, (B, M, N) -> (B, S, N)."""

    def __init__(self, model: TFGridNet) -> None:
        super().__init__()
        from espnet2.enh.separator.tfgridnet_separator import TFGridNet as Peer

        config = model.config
        self.peer = Peer(
            None,
            n_srcs=config.speakers,
            n_fft=config.fft_size,
            stride=config.hop,
            n_imics=config.microphones,
            n_layers=config.blocks,
            lstm_hidden_units=config.lstm,
            attn_n_head=config.heads,
            attn_approx_qk_dim=config.qk_size,
            emb_dim=config.embedding,
            emb_ks=config.kernel,
            emb_hs=config.stride,
            activation=config.activation,
            use_builtin_complex=True,
        )
        weights = {f"conv.0.{name}": value for name, value in model.encode.state_dict().items()}
        weights |= {f"conv.1.{name}": value for name, value in model.encode_norm.state_dict().items()}
        weights |= {f"deconv.{name}": value for name, value in model.decode.state_dict().items()}
        for index, block in enumerate(model.blocks):
            named = _path(block.full_band, "intra") | _path(block.sub_band, "inter") | _attention(block.attention)
            weights |= {f"blocks.{index}.{name}": value for name, value in named.items()}
        self.peer.load_state_dict(weights)

    def forward(self, mixture: Tensor) -> Tensor:
        lengths = torch.full((len(mixture),), mixture.shape[2], device=mixture.device)
        signal = mixture[:, 0] if mixture.shape[1] == 1 else mixture.transpose(1, 2)
        return torch.stack(self.peer(signal, lengths)[0], dim=1)


def _path(path: GridPath, name: str) -> dict[str, Tensor]:
    kernel, size = path.kernel, path.norm.weight.numel()
    weights = {
        f"{name}_norm.gamma": path.norm.weight.view(1, size, 1, 1),
        f"{name}_norm.beta": path.norm.bias.view(1, size, 1, 1),
        # (kernel * size, 2 * hidden), the position first, to (2 * hidden, size, kernel)
        f"{name}_linear.weight": path.deconvolution.weight.unflatten(0, (kernel, size)).permute(2, 1, 0),
        f"{name}_linear.bias": path.bias,
    }
    for key, value in path.lstm.state_dict().items():
        if key.startswith("weight_ih"):  # a window's features: ours by position, theirs by channel
            value = value.unflatten(1, (kernel, size)).transpose(1, 2).flatten(1)
        weights[f"{name}_rnn.{key}"] = value
    return weights


def _attention(attention: FrameAttention) -> dict[str, Tensor]:
    weights, start = {}, 0
    for index, (letter, width) in enumerate(zip("QKV", attention.widths, strict=True)):
        for head in range(attention.heads):
            name, rows = f"attn_conv_{letter}_{head}", slice(start, start + width)
            weights[f"{name}.0.weight"] = attention.qkv.weight[rows, :, None, None]
            weights[f"{name}.0.bias"] = attention.qkv.bias[rows]
            weights[f"{name}.1.weight"] = attention.activation.slope[index * attention.heads + head].view(1)
            weights[f"{name}.2.gamma"] = attention.gains[index][head].permute(2, 0, 1)[None]
            weights[f"{name}.2.beta"] = attention.offsets[index][head].permute(2, 0, 1)[None]
            start += width
    norm = attention.projection_norm
    return weights | {
        "attn_concat_proj.0.weight": attention.projection.weight[:, :, None, None],
        "attn_concat_proj.0.bias": attention.projection.bias,
        "attn_concat_proj.1.weight": attention.projection_activation.slope,
        "attn_concat_proj.2.gamma": norm.weight.T[None, :, None],
        "attn_concat_proj.2.beta": norm.bias.T[None, :, None],
    }


class MaskMVDRTwin(nn.Module):
    """espnet2's NeuralBeamformer between its transforms, (B, M, N) -> (B, S, N).

    It knows neither our level of 1 nor other inputs than magnitudes.
    """

    def __init__(self, model: MaskMVDR) -> None:
        super().__init__()
        from espnet2.enh.decoder.stft_decoder import STFTDecoder
        from espnet2.enh.encoder.stft_encoder import STFTEncoder
        from espnet2.enh.separator.neural_beamformer import NeuralBeamformer

        config = model.config
        assert config.input == "magnitude", config.input
        self.encoder = STFTEncoder(config.fft_size, config.fft_size, config.hop, use_builtin_complex=True)
        self.decoder = STFTDecoder(config.fft_size, config.fft_size, config.hop)
        self.peer = NeuralBeamformer(
            model.stft.frequencies,
            num_spk=config.speakers,
            blayers=config.layers,
            bunits=config.lstm,
            bprojs=config.projection,
            ref_channel=config.reference_microphone,
            diag_eps_bf=config.diagonal_loading,
        )
        weights: dict[str, Tensor] = {}
        estimator = model.estimator
        for index, (lstm, projection) in enumerate(zip(estimator.lstms, estimator.projections, strict=True)):
            weights |= {f"brnn.birnn{index}.{name}": value for name, value in lstm.state_dict().items()}
            weights |= {f"brnn.bt{index}.{name}": value for name, value in projection.state_dict().items()}
        for index, (weight, bias) in enumerate(
            zip(
                model.to_masks.weight.chunk(config.speakers + 1),
                model.to_masks.bias.chunk(config.speakers + 1),
                strict=True,
            )
        ):
            weights |= {f"linears.{index}.weight": weight, f"linears.{index}.bias": bias}
        self.peer.beamformer.mask.load_state_dict(weights)

    def forward(self, mixture: Tensor) -> Tensor:
        lengths = torch.full((len(mixture),), mixture.shape[2], device=mixture.device)
        spectrum, frames = self.encoder(mixture.transpose(1, 2), lengths)
        separated = self.peer(spectrum, frames)[0]
        return torch.stack([self.decoder(speaker, lengths)[0] for speaker in separated], dim=1)
