"""TF-GridNet and the neural beamformer against ESPnet's classes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("espnet2", reason="ESPnet is not installed; `make parity` installs it")

from espnet2.enh.decoder.stft_decoder import STFTDecoder
from espnet2.enh.encoder.stft_encoder import STFTEncoder
from espnet2.enh.separator.neural_beamformer import NeuralBeamformer
from espnet2.enh.separator.tfgridnet_separator import TFGridNet as TheirTFGridNet

from sepasr_cli.pretrained.espnet import rules
from sepasr_cli.pretrained.espnet.options import Options
from sepasr_cli.pretrained.espnet.separators import separator_config, separator_rules
from sepasr_cli.separation import build_separator

#: The published configuration of arXiv 2307.12231, and a small one for what does not depend on size.
PAPER = {"n_fft": 512, "stride": 256, "emb_ks": 4, "emb_hs": 2}
SMALL = {"n_fft": 64, "stride": 32, "n_layers": 2, "lstm_hidden_units": 8, "emb_dim": 8, "attn_approx_qk_dim": 100}


def import_separator(theirs: torch.nn.Module, **values: Any) -> Any:
    config = separator_config(Options({"encoder": "same", "decoder": "same"} | values, "config.yaml"), 16000)
    ours = build_separator(config).eval()
    state = {f"separator.{name}": value for name, value in theirs.state_dict().items()}
    rules.apply(separator_rules(config), state, ours, "model.pth")
    return ours


@pytest.mark.parametrize(
    ("conf", "samples"),
    [
        pytest.param(PAPER | {"n_imics": 8, "activation": "gelu", "ref_channel": 0}, 16384, id="paper, 8 mics, gelu"),
        pytest.param(PAPER | {"n_imics": 2, "activation": "prelu", "ref_channel": 0}, 16384, id="paper, 2 mics, prelu"),
        pytest.param(SMALL | {"n_imics": 3, "activation": "silu", "ref_channel": 2}, 3200, id="small, ref_channel 2"),
        pytest.param(SMALL | {"n_imics": 2, "emb_ks": 4, "emb_hs": 4, "n_srcs": 3}, 3200, id="small, 3 speakers"),
        pytest.param(SMALL | {"n_imics": 1, "emb_ks": 3, "emb_hs": 2}, 3200, id="small, 1 mic, kernel 3"),
        pytest.param(SMALL | {"n_imics": 2}, 3217, id="small, length no multiple of the hop"),
    ],
)
def test_tfgridnet(conf: dict[str, Any], samples: int, agree: Any, randomise: Callable[..., Any], request: Any) -> None:
    theirs = randomise(TheirTFGridNet(None, **conf))
    ours = import_separator(theirs, separator="tfgridnet", separator_conf=conf)
    mixture = 0.1 * torch.randn(2, conf["n_imics"], samples)
    expected = theirs(mixture.transpose(1, 2).squeeze(2), torch.tensor([samples] * 2))[0]
    # Where the tail of the window alone covers the end, theirs divides by next to nothing; ours fades out.
    sure = samples - samples % conf["stride"] if samples % conf["stride"] else samples
    found = ours(mixture)
    agree("TF-GridNet", request.node.callspec.id, found[..., :sure], torch.stack(expected, 1)[..., :sure])


BEAMFORMER = {"num_spk": 2, "bunits": 512, "bprojs": 512, "ref_channel": 0}


@pytest.mark.parametrize(
    "conf",
    [
        pytest.param(BEAMFORMER, id="mvdr_souden, 3 x 512, noise mask"),
        pytest.param(BEAMFORMER | {"beamformer_type": "mvdr"}, id="mvdr, 3 x 512, noise mask"),
        pytest.param(BEAMFORMER | {"use_noise_mask": False, "beamformer_type": "mvdr"}, id="mvdr, no noise mask"),
        pytest.param({"ref_channel": 1, "num_spk": 1, "bnonlinear": "crelu"}, id="1 speaker, ref_channel 1, crelu"),
        pytest.param(
            {"ref_channel": 1, "num_spk": 3, "bnonlinear": "relu", "mask_flooring": True, "flooring_thres_bf": 0.02},
            id="3 speakers, relu, floor",
        ),
        pytest.param(
            {"ref_channel": 0, "num_spk": 2, "diagonal_loading": False, "beamformer_type": "mvdr", "rtf_iterations": 4},
            id="no loading, 4 iterations",
        ),
    ],
)
@pytest.mark.parametrize("microphones", [2, 8])
@pytest.mark.parametrize("level", [0.3, 1e-4])
def test_beamformer(
    conf: dict[str, Any], microphones: int, level: float, agree: Any, randomise: Callable[..., Any], request: Any
) -> None:
    stft = {"n_fft": 512, "hop_length": 128}
    encoder, decoder = STFTEncoder(**stft, use_builtin_complex=True), STFTDecoder(**stft)
    theirs = randomise(NeuralBeamformer(encoder.output_dim, **conf))
    both = {"encoder": "stft", "encoder_conf": stft, "decoder": "stft", "decoder_conf": stft}
    ours = import_separator(theirs, separator="wpe_beamformer", separator_conf=conf, **both)
    samples = 128 * 80
    sources = torch.randn(2, 3, samples) * torch.rand(2, 3, 80).repeat_interleave(128, -1)
    mixing = torch.randn(2, microphones, 3)
    mixture = level * (mixing @ sources + 0.3 * torch.randn(2, microphones, samples))
    lengths = torch.tensor([samples] * 2)
    expected = theirs(*encoder(mixture.transpose(1, 2), lengths))[0]
    expected = [decoder(one, lengths)[0] for one in expected]
    configuration = f"{request.node.callspec.id.rsplit('-', 1)[1]}, {microphones} microphones"
    agree("neural MVDR", configuration, ours(mixture), torch.stack(expected, 1))
