"""Experiments written by ESPnet's own tasks, imported, give what ESPnet's own inference gives."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("espnet2", reason="ESPnet is not installed; `make parity` installs it")

import yaml
from espnet2.bin.asr_inference import Speech2Text
from espnet2.bin.enh_inference import SeparateSpeech
from espnet2.main_funcs.pack_funcs import pack
from espnet2.tasks.asr import ASRTask
from espnet2.tasks.enh import EnhancementTask
from espnet2.tasks.enh_s2t import EnhS2TTask
from espnet2.tasks.lm import LMTask

import sepasr_cli
from sepasr_cli.pretrained import load_model, load_separator
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.language_model import LanguageModel

RATE = 16000
TOKENS = ["<blank>", "<unk>", "<NOISE>", "<space>", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "<sos/eos>"]
GRID = {"n_fft": 128, "stride": 64, "n_layers": 1, "lstm_hidden_units": 8, "emb_dim": 8, "attn_approx_qk_dim": 130}
GRID |= {"n_imics": 2, "emb_hs": 2, "activation": "gelu", "ref_channel": 0}
BEAMFORMER = {"num_spk": 2, "blayers": 1, "bunits": 16, "bprojs": 16, "ref_channel": 1}
ENCODER = {"output_size": 32, "attention_heads": 4, "linear_units": 32, "num_blocks": 2, "input_layer": "conv2d2"}
ENCODER |= {"macaron_style": True, "rel_pos_type": "latest", "cnn_module_kernel": 15}
SIZES = ("output_size", "attention_heads", "linear_units", "num_blocks")
DECODER = {"attention_heads": 4, "linear_units": 32, "num_blocks": 2}
FEATURES = {"normalize": "utterance_mvn", "normalize_conf": {}, "token_type": "char", "token_list": TOKENS}
DECODING = {"beam": 10, "ctc_weight": 0.3, "lm_weight": 1.0}


@pytest.fixture
def write(randomise: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Write an experiment as ESPnet's training does: all its settings, and the state of the model that it builds."""

    def write(task: Any, name: str, **changes: Any) -> Path:
        folder = tmp_path / "exp" / name
        folder.mkdir(parents=True)
        values = _plain(task.get_default_config() | changes)
        model = randomise(task.build_model(argparse.Namespace(**values)))
        for head in [module for title, module in model.named_modules() if title.endswith("ctc.ctc_lo")]:
            head.weight.mul_(8)  # so that speech is told from speech
        (folder / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        torch.save(model.state_dict(), folder / "valid.best.pth")
        return folder

    return write


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    level = np.repeat(draw.random((2, 30)), RATE // 20, axis=1)
    samples = 0.1 * level * draw.standard_normal(level.shape)
    soundfile.write(tmp_path / "mixture.wav", samples.T, RATE, subtype="FLOAT")
    return tmp_path / "mixture.wav"


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


SEPARATORS = {
    "tfgridnet": {"encoder": "same", "encoder_conf": {}, "decoder": "same", "decoder_conf": {}}
    | {"separator": "tfgridnet", "separator_conf": GRID},
    "wpe_beamformer": {"separator": "wpe_beamformer", "separator_conf": BEAMFORMER},
    "wpe_beamformer, normalize_variance": {"separator": "wpe_beamformer", "separator_conf": BEAMFORMER}
    | {"model_conf": {"normalize_variance": True}},
}


@pytest.mark.parametrize("kind", SEPARATORS)
def test_separator(kind: str, write: Any, mixture: Path, agree: Any, tmp_path: Path) -> None:
    folder = write(EnhancementTask, "enh", **SEPARATORS[kind])
    sepasr_cli.import_espnet(str(folder), tmp_path / "model")
    theirs = SeparateSpeech(folder / "config.yaml", folder / "valid.best.pth")
    audio = read(mixture)
    expected = torch.from_numpy(np.concatenate(theirs(audio[None], RATE)))
    ours = load_separator(str(tmp_path / "model"))
    agree("imported separator", kind, ours(torch.from_numpy(audio.T)[None])[0], expected)
    assert sepasr_cli.separate([mixture], model=str(tmp_path / "model"), out=tmp_path / "out").failures == {}


def test_recognizer_with_its_language_model_packed(
    write: Any, mixture: Path, agree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # so that the paths that are packed are relative
    settings = {"encoder": "conformer", "encoder_conf": ENCODER, "decoder": "transformer", "decoder_conf": DECODER}
    folder = write(ASRTask, "asr", **FEATURES | settings | {"model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1}})
    spoken = write(LMTask, "lm", token_type="char", token_list=TOKENS, lm="transformer", lm_conf={"layer": 2})
    files = {"asr_model_file": folder / "valid.best.pth", "lm_file": spoken / "valid.best.pth"}
    configs = {"asr_train_config": folder / "config.yaml", "lm_train_config": spoken / "config.yaml"}
    pack(files, configs, tmp_path / "packed.zip")
    model = sepasr_cli.import_espnet(str(tmp_path / "packed.zip"), tmp_path / "model")
    theirs = Speech2Text(
        configs["asr_train_config"], files["asr_model_file"], lm_train_config=configs["lm_train_config"],
        lm_file=files["lm_file"], beam_size=10, ctc_weight=0.3, lm_weight=1.0,
    )  # fmt: skip
    audio = read(mixture)[:, 0]
    text, _, tokens, hypothesis = theirs(audio)[0]
    ours = load_model(str(tmp_path / "model"))
    language_model = LanguageModel.from_pretrained(str(tmp_path / "model/language_model"))
    assert (ours.config, ours.provenance) == (model.config, {"imported_from": str(tmp_path / "packed.zip")})
    lengths = torch.tensor([len(audio)])
    found = ours.transcribe(torch.from_numpy(audio)[None], lengths, DecodingConfig(**DECODING), language_model)[0]
    assert (list(found.tokens), found.text) == (tokens, " ".join(text.split()))
    agree("imported recogniser", "score", torch.tensor(found.score), hypothesis.score, tolerance=1e-4)


JOINT = {"enh_encoder": "same", "enh_encoder_conf": {}, "enh_decoder": "same", "enh_decoder_conf": {}}
JOINT |= {"enh_separator": "tfgridnet", "enh_separator_conf": GRID, "asr_encoder": "conformer"}
JOINT |= {"asr_encoder_conf": ENCODER, "asr_decoder": "transformer", "asr_decoder_conf": DECODER}
JOINT |= {"asr_model_conf": {"ctc_weight": 0.3}, "model_conf": {"calc_enh_loss": False, "bypass_enh_prob": 0.0}}
MVDR = {"enh_separator": "wpe_beamformer", "enh_separator_conf": BEAMFORMER, "enh_encoder": "stft"}
MVDR |= {"enh_decoder": "stft"}


@pytest.mark.parametrize("kind", ["TF-GridNet + WavLM", "TF-GridNet + filterbank", "MVDR + filterbank"])
def test_joint_model(kind: str, write: Any, mixture: Path, agree: Any, wavlm: Path, tmp_path: Path) -> None:
    settings = FEATURES | JOINT | (MVDR if "MVDR" in kind else {})
    if "WavLM" in kind:
        upstream = {"upstream": "wavlm_local", "path_or_url": str(wavlm)}
        settings |= {"frontend": "s3prl", "frontend_conf": {"frontend_conf": upstream, "multilayer_feature": True}}
        settings |= {"asr_preencoder": "linear", "asr_preencoder_conf": {"input_size": 64, "output_size": 40}}
    folder = write(EnhS2TTask, "joint", **settings)
    spoken = write(LMTask, "lm", token_type="char", token_list=TOKENS, lm="transformer", lm_conf={"layer": 2})
    sepasr_cli.import_espnet(str(folder), tmp_path / "first", language_model=str(spoken))
    (tmp_path / "first").rename(tmp_path / "model")  # a model can be moved
    theirs = Speech2Text(
        folder / "config.yaml", folder / "valid.best.pth", lm_train_config=spoken / "config.yaml",
        lm_file=spoken / "valid.best.pth", beam_size=10, ctc_weight=0.3, lm_weight=1.0, enh_s2t_task=True,
    )  # fmt: skip
    audio = read(mixture)
    said = [hypotheses[0] for hypotheses in theirs(audio)]
    ours = load_model(str(tmp_path / "model"))
    language_model = LanguageModel.from_pretrained(str(tmp_path / "model/language_model"))
    heard = torch.from_numpy(audio.T)[None]
    found, estimates = ours.transcribe(heard, decoding=DecodingConfig(**DECODING), language_model=language_model)
    waves = theirs.asr_model.enh_model.forward_enhance(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))[0]
    agree("imported joint model", f"{kind}, waveforms", estimates[0], torch.cat(waves))
    for one, (text, _, tokens, hypothesis) in zip(found[0], said, strict=True):
        assert (list(one.tokens), one.text) == (tokens, " ".join(text.split()))
        agree("imported joint model", f"{kind}, score", torch.tensor(one.score), hypothesis.score, tolerance=1e-4)
    outcome = sepasr_cli.transcribe([mixture], model=str(tmp_path / "model"), whole=True)
    assert sorted(segment.words for segment in outcome.segments) == sorted(one.text for one in found[0] if one.text)


SMALL_WAVLM = {"encoder_layers": 2, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 4}
SMALL_WAVLM |= {"conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2", "conv_pos": 16}
SMALL_WAVLM |= {"conv_pos_groups": 4}
LARGE_WAVLM = {"encoder_layers": 24, "encoder_embed_dim": 1024, "encoder_ffn_embed_dim": 4096}
LARGE_WAVLM |= {"encoder_attention_heads": 16}


def write_wavlm(path: Path, **sizes: Any) -> Path:
    """A WavLM of its authors' class with random weights, arranged like the large one."""
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    torch.manual_seed(1)
    conf = {"extractor_mode": "layer_norm", "layer_norm_first": True, "normalize": True, "num_buckets": 320}
    conf |= {"max_distance": 800, "relative_position_embedding": True, "gru_rel_pos": True} | sizes
    torch.save({"cfg": conf, "model": WavLM(WavLMConfig(conf)).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wavlm(tmp_path_factory.mktemp("wavlm") / "wavlm.pt", **SMALL_WAVLM)


@pytest.mark.slow
def test_the_paper_s_configuration(write: Any, agree: Any, times: Any, tmp_path: Path) -> None:
    """The whole system of arXiv 2307.12231 at its full size: 8 microphones, WavLM Large, language model of 16 x 512."""
    upstream = {"upstream": "wavlm_local", "path_or_url": str(write_wavlm(tmp_path / "wavlm.pt", **LARGE_WAVLM))}
    grid = {"n_fft": 512, "stride": 256, "n_imics": 8, "emb_hs": 2, "activation": "gelu", "ref_channel": 0}
    paper = FEATURES | JOINT | {"enh_separator_conf": grid, "asr_preencoder": "linear", "frontend": "s3prl"}
    paper |= {"frontend_conf": {"frontend_conf": upstream, "multilayer_feature": True}}
    paper |= {"asr_preencoder_conf": {"input_size": 1024, "output_size": 80}, "asr_decoder_conf": {}}
    paper |= {"asr_encoder_conf": {"num_blocks": 12} | {key: ENCODER[key] for key in ENCODER if key not in SIZES}}
    folder = write(EnhS2TTask, "joint", **paper)
    layers = {"embed_unit": 128, "att_unit": 512, "head": 8, "unit": 2048, "layer": 16}
    spoken = write(LMTask, "lm", token_type="char", token_list=TOKENS, lm="transformer", lm_conf=layers)
    draw = np.random.default_rng(0)
    level = np.repeat(draw.random((8, 48)), RATE // 16, axis=1)
    soundfile.write(tmp_path / "mixture.wav", (0.1 * level * draw.standard_normal(level.shape)).T, RATE, "FLOAT")
    audio = read(tmp_path / "mixture.wav")

    with times("import"):
        sepasr_cli.import_espnet(str(folder), tmp_path / "model", language_model=str(spoken))
    with times("ESPnet, loading"):
        theirs = Speech2Text(
            folder / "config.yaml", folder / "valid.best.pth", lm_train_config=spoken / "config.yaml",
            lm_file=spoken / "valid.best.pth", beam_size=10, ctc_weight=0.3, lm_weight=1.0, enh_s2t_task=True,
        )  # fmt: skip
    with times("ESPnet, 3 s of 8 channels"):
        said = [hypotheses[0] for hypotheses in theirs(audio)]
    waves = theirs.asr_model.enh_model.forward_enhance(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))[0]
    del theirs
    with times("sepasr, loading"):
        ours = load_model(str(tmp_path / "model"))
        language_model = LanguageModel.from_pretrained(str(tmp_path / "model/language_model"))
    with times("sepasr, 3 s of 8 channels"):
        heard = torch.from_numpy(audio.T.copy())[None]
        found, estimates = ours.transcribe(heard, decoding=DecodingConfig(**DECODING), language_model=language_model)
    agree("the paper's system", "waveforms", estimates[0], torch.cat(waves))
    for one, (text, _, tokens, hypothesis) in zip(found[0], said, strict=True):
        assert (list(one.tokens), one.text) == (tokens, " ".join(text.split()))
        agree("the paper's system", f"score of {len(tokens)} tokens", torch.tensor(one.score), hypothesis.score)
    with times("sepasr transcribe, loading included"):
        outcome = sepasr_cli.transcribe([tmp_path / "mixture.wav"], model=str(tmp_path / "model"), whole=True)
    assert sorted(segment.words for segment in outcome.segments) == sorted(one.text for one in found[0] if one.text)
