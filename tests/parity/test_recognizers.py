"""The parts of the recogniser, and language models, against ESPnet's classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("espnet2", reason="ESPnet is not installed; `make parity` installs it")

from espnet2.asr.ctc import CTC
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder as TheirDecoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.asr.frontend.s3prl import S3prlFrontend
from espnet2.asr.preencoder.linear import LinearProjection
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN
from espnet2.lm.espnet_model import ESPnetLanguageModel
from espnet2.lm.transformer_lm import TransformerLM

from sepasr_cli.pretrained.espnet.convert import convert
from sepasr_cli.pretrained.espnet.experiment import Experiment
from sepasr_cli.recognition.transformer_decoder import log_softmax

TOKENS = ["<blank>", "<unk>", "<NOISE>", "<space>", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "<sos/eos>"]
CONFORMER = {"macaron_style": True, "rel_pos_type": "latest", "cnn_module_kernel": 15}
PAPER = CONFORMER | {"input_layer": "conv2d2", "num_blocks": 12}


def convert_from(model: torch.nn.Module, **config: Any) -> Any:
    """Our model of theirs, by its settings and weights."""
    values = {"token_type": "char", "token_list": TOKENS} | config
    return convert(Experiment(Path("config.yaml"), Path("model.pth"), values, model.state_dict()))


def asr(randomise: Callable[..., Any], size: int, **parts: Any) -> ESPnetASRModel:
    """Their recogniser of the given parts; small ones in the place of others."""
    encoder = parts.get("encoder") or TransformerEncoder(size, output_size=16, linear_units=16, num_blocks=1)
    width = encoder.output_size()
    small = {"attention_heads": 4, "linear_units": 16, "num_blocks": 1}
    decoder = TheirDecoder(len(TOKENS), width, **parts.get("decoder", small))
    model = ESPnetASRModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        frontend=parts.get("frontend") or DefaultFrontend(n_mels=size),
        specaug=None,
        normalize=parts.get("normalize"),
        preencoder=parts.get("preencoder"),
        encoder=encoder,
        postencoder=None,
        decoder=decoder,
        ctc=CTC(len(TOKENS), width),
        joint_network=None,
    )
    return randomise(model)


SMALL_ENCODER = {"encoder": "transformer", "encoder_conf": {"output_size": 16, "linear_units": 16, "num_blocks": 1}}
SMALL = SMALL_ENCODER | {"decoder": "transformer", "decoder_conf": {"linear_units": 16, "num_blocks": 1}}
SMALL |= {"frontend": "default"}


def speech(batch: int = 2, samples: int = 16000) -> tuple[Tensor, Tensor]:
    return 0.1 * torch.randn(batch, samples), torch.full((batch,), samples)


@pytest.mark.parametrize(
    "conf",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"n_fft": 512, "hop_length": 160, "win_length": 400, "n_mels": 40}, id="hop 160, window 400"),
        pytest.param(
            {"fs": 8000, "n_fft": 256, "hop_length": 64, "htk": True, "fmin": 60, "fmax": 3800}, id="8 kHz, HTK"
        ),
    ],
)
@pytest.mark.parametrize("samples", [16000, 15837])
def test_filterbank(conf: dict[str, Any], samples: int, agree: Any, randomise: Any, request: Any) -> None:
    theirs = asr(randomise, conf.get("n_mels", 80), frontend=DefaultFrontend(**conf))
    ours = convert_from(theirs, **SMALL | {"frontend_conf": conf})
    audio, lengths = speech(samples=samples)
    expected, frames = theirs._extract_feats(audio, lengths)
    found, our_frames = ours.features(audio, lengths)
    assert our_frames.tolist() == frames.tolist()
    agree("log-mel frontend", request.node.callspec.id.rsplit("-", 1)[1], found, expected)


@pytest.mark.parametrize("kind", ["mean", "mean and variance", "global"])
def test_normalisation(kind: str, agree: Any, randomise: Any, tmp_path: Path) -> None:
    if kind == "global":
        draw = np.random.default_rng(0)
        frames = draw.normal(-8, 3, (500, 80))
        np.savez(tmp_path / "stats.npz", count=500, sum=frames.sum(0), sum_square=np.square(frames).sum(0))
        normalize: Any = GlobalMVN(tmp_path / "stats.npz")
        config: dict[str, Any] = {"normalize": "global_mvn", "normalize_conf": {"stats_file": "stats.npz"}}
    else:
        normalize = UtteranceMVN(norm_vars=kind != "mean")
        config = {"normalize": "utterance_mvn", "normalize_conf": {"norm_vars": kind != "mean"}}
    theirs = asr(randomise, 80, normalize=normalize)
    ours = convert_from(theirs, **SMALL | config)
    audio, lengths = speech()
    expected, _ = theirs.normalize(*theirs._extract_feats(audio, lengths))
    agree("normalisation", kind, ours.normalisation(*ours.features(audio, lengths)), expected)


@pytest.mark.parametrize(
    ("kind", "conf"),
    [
        pytest.param("conformer", PAPER, id="Conformer 12 x 256, conv2d2"),
        pytest.param("conformer", PAPER | {"input_layer": "conv2d"}, id="Conformer 12 x 256, conv2d"),
        pytest.param("conformer", CONFORMER | {"output_size": 64, "attention_heads": 2, "num_blocks": 2}, id="small"),
        pytest.param("transformer", {"num_blocks": 12}, id="Transformer 12 x 256, conv2d"),
        pytest.param("transformer", {"num_blocks": 2, "input_layer": "conv2d2"}, id="Transformer 2 x 256, conv2d2"),
    ],
)
@pytest.mark.parametrize("samples", [32000, 19973])
def test_encoder(kind: str, conf: dict[str, Any], samples: int, agree: Any, randomise: Any, request: Any) -> None:
    encoder = {"conformer": ConformerEncoder, "transformer": TransformerEncoder}[kind](80, **conf)
    theirs = asr(randomise, 80, encoder=encoder, normalize=UtteranceMVN())
    ours = convert_from(theirs, **SMALL | {"encoder": kind, "encoder_conf": conf, "normalize": "utterance_mvn"})
    audio, lengths = speech(samples=samples)
    features, count = theirs.normalize(*theirs._extract_feats(audio, lengths))
    expected, frames, _ = theirs.encoder(features, count)
    found, our_frames = ours.encoder(features, count)
    assert our_frames.tolist() == frames.tolist()
    name = request.node.callspec.id.rsplit("-", 1)[1]
    name = name if name != "small" else "Conformer 2 x 64, conv2d"
    agree("encoder", name, found, expected)
    agree("audio to encoder", name, ours.encode(audio, lengths)[0], theirs.encode(audio, lengths)[0], tolerance=5e-5)
    agree("CTC", "log probabilities", ours.ctc_log_probs(expected), theirs.ctc.log_softmax(expected))


@pytest.mark.parametrize("blocks", [1, 6])
def test_decoder(blocks: int, agree: Any, randomise: Any) -> None:
    conf = {"num_blocks": blocks}
    theirs = asr(randomise, 80, decoder=conf, encoder=TransformerEncoder(80, num_blocks=1, linear_units=16))
    settings = {"encoder_conf": {"num_blocks": 1, "linear_units": 16}, "decoder_conf": conf}
    ours = convert_from(theirs, **SMALL | settings)
    encoded, lengths = torch.randn(2, 50, 256), torch.tensor([50, 31])
    tokens = torch.randint(2, len(TOKENS) - 1, (2, 20))
    tokens[:, 0] = len(TOKENS) - 1
    expected, _ = theirs.decoder(encoded, lengths, tokens, torch.tensor([20, 20]))
    agree("Transformer decoder", f"{blocks} x 256", ours.decoder(encoded, lengths, tokens), expected)
    state, states = ours.decoder.start(encoded[:1]), [None]
    for place in range(1, 6):
        found = ours.decoder.step(tokens[:1, place - 1 : place], state)[:, 0]
        scores, states = theirs.decoder.batch_score(tokens[:1, :place], states, encoded[:1])
        agree("Transformer decoder", f"{blocks} x 256, a token at a time", found, scores)


@pytest.mark.parametrize("positions", [None, "sinusoidal"])
@pytest.mark.parametrize("conf", [{}, {"embed_unit": 128, "att_unit": 512, "head": 8, "unit": 2048, "layer": 16}])
def test_language_model(positions: str | None, conf: dict[str, Any], agree: Any, randomise: Any) -> None:
    conf = conf | {"pos_enc": positions}
    theirs = randomise(ESPnetLanguageModel(TransformerLM(len(TOKENS), **conf), len(TOKENS)))
    ours = convert_from(theirs, lm="transformer", lm_conf=conf)
    tokens = torch.randint(2, len(TOKENS) - 1, (2, 30))
    tokens[:, 0] = len(TOKENS) - 1
    expected = theirs.lm(tokens, None)[0].log_softmax(-1)
    name = f"{conf.get('layer', 4)} x {conf.get('att_unit', 256)}, pos_enc {positions}"
    agree("Transformer language model", name, log_softmax(ours.logits(tokens)), expected)


WAVLM = {"encoder_layers": 4, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 128, "encoder_attention_heads": 4}
WAVLM |= {"conv_pos": 16, "conv_pos_groups": 4, "relative_position_embedding": True, "gru_rel_pos": True}
WAVLM |= {"conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2", "num_buckets": 320}
WAVLM |= {"max_distance": 800}


@pytest.mark.parametrize("multilayer", [True, False])
@pytest.mark.parametrize("size", ["large", "base"])
def test_wavlm_features(size: str, multilayer: bool, agree: Any, randomise: Any, tmp_path: Path) -> None:
    """s3prl's WavLM, which is its authors' code, with the settings of the large or the base one, but smaller."""
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    large = {"extractor_mode": "layer_norm", "layer_norm_first": True, "normalize": True}
    conf = WAVLM | (large if size == "large" else {})
    model = randomise(WavLM(WavLMConfig(conf)))
    torch.save({"cfg": conf, "model": model.state_dict()}, tmp_path / "wavlm.pt")
    settings = {"frontend_conf": {"upstream": "wavlm_local", "path_or_url": str(tmp_path / "wavlm.pt")}}
    settings |= {"multilayer_feature": multilayer}
    theirs = asr(randomise, 80, frontend=S3prlFrontend(**settings), preencoder=LinearProjection(64, 80),
                 normalize=UtteranceMVN())  # fmt: skip
    projection = {"preencoder": "linear", "preencoder_conf": {"input_size": 64, "output_size": 80}}
    config = {"frontend": "s3prl", "frontend_conf": settings, "normalize": "utterance_mvn", "normalize_conf": {}}
    ours = convert_from(theirs, **SMALL | config | projection)
    for samples in (16000, 15999, 8123):
        audio, lengths = speech(1, samples)
        expected, frames = theirs._extract_feats(audio, lengths)
        found, our_frames = ours.features(audio, lengths)
        assert our_frames.tolist() == frames.tolist()
        name = f"as WavLM {size}, {'weighted sum' if multilayer else 'last layer'}"
        agree("SSL features", name, found, expected)
        agree("SSL features", f"{name}, encoded", ours.encode(audio, lengths)[0], theirs.encode(audio, lengths)[0])
