"""Tiny models with random weights, and a run of them in small, which any test can use."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from sepasr_cli.features import FilterbankConfig
from sepasr_cli.joint import JointModel
from sepasr_cli.manifest import Mixture, Source, write_manifest
from sepasr_cli.pretrained.espnet import recognizers
from sepasr_cli.pretrained.espnet.options import Options
from sepasr_cli.recipe import load_recipe
from sepasr_cli.recognition import LanguageModel, Recognizer, RecognizerConfig, Vocabulary
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.transformer_decoder import TransformerDecoderConfig
from sepasr_cli.rundir import RunDir
from sepasr_cli.separation import TFGridNet, TFGridNetConfig


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Every test draws the same, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_separator() -> TFGridNet:
    """A TF-GridNet of two microphones and two speakers at 8 kHz."""
    torch.manual_seed(0)
    sizes = {"fft_size": 64, "hop": 32, "blocks": 1, "embedding": 4, "lstm": 4, "heads": 2, "qk_size": 66}
    return TFGridNet(TFGridNetConfig(sample_rate=8000, **sizes)).eval()


@pytest.fixture(scope="session")
def tiny_joint(tiny_separator: TFGridNet) -> JointModel:
    """The tiny separator with a recogniser of capital letters, which finds something to say in any sound."""
    torch.manual_seed(0)
    config = RecognizerConfig(
        sample_rate=8000,
        features=FilterbankConfig(mels=20, fft_size=256, hop=80),
        encoder=ConformerConfig(blocks=1, size=16, heads=2, feed_forward=16, kernel=3),
        decoder=TransformerDecoderConfig(blocks=1, heads=2, feed_forward=16),
        vocabulary=Vocabulary.train(["ABC DEF"], "characters"),
    )
    recognizer = Recognizer(config).eval()
    with torch.no_grad():
        recognizer.ctc_head.weight.mul_(8)
    return JointModel.join(tiny_separator, recognizer).eval()


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["ONE", "TWO", "GO"], "characters", 0)


@pytest.fixture(scope="session")
def separator_config() -> TFGridNetConfig:
    return TFGridNetConfig(
        sample_rate=8000,
        microphones=2,
        fft_size=64,
        hop=32,
        blocks=1,
        embedding=4,
        lstm=4,
        stride=4,
        heads=2,
        qk_size=66,
    )


@pytest.fixture(scope="session")
def recognizer_config(vocabulary: Vocabulary) -> RecognizerConfig:
    return RecognizerConfig(
        sample_rate=8000,
        features=FilterbankConfig(mels=16, fft_size=128, hop=80),
        specaugment=None,
        encoder=ConformerConfig(blocks=1, size=16, heads=2, feed_forward=16, kernel=3, subsampling=2, dropout=0.1),
        decoder=TransformerDecoderConfig(blocks=1, heads=2, feed_forward=16, dropout=0.1),
        vocabulary=vocabulary,
    )


@pytest.fixture(scope="session")
def separator_folder(tiny_separator: TFGridNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny separator as it is saved."""
    folder = tmp_path_factory.mktemp("separator")
    tiny_separator.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def joint_folder(tiny_joint: JointModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny joint model as it is saved."""
    folder = tmp_path_factory.mktemp("joint")
    tiny_joint.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def write_espnet() -> Callable[[Path], None]:
    """Write experiments `asr` and `lm` as ESPnet2 does, with random weights by its names, into a folder."""
    tokens = ["<blank>", "<unk>", "<space>", "A", "B", "<sos/eos>"]
    sizes = {"attention_heads": 2, "linear_units": 16, "num_blocks": 1}
    common = {"token_type": "char", "token_list": tokens, "optim": "adam"}
    asr = {
        "frontend": "default",
        "frontend_conf": {"fs": "8k", "n_fft": 128, "hop_length": 64, "n_mels": 16},
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": "exp/asr_stats/train/feats_stats.npz"},
        "encoder": "transformer",
        "encoder_conf": {"output_size": 16, **sizes},
        "decoder": "transformer",
        "decoder_conf": sizes,
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},
    }
    lm = {"lm": "transformer", "lm_conf": {"embed_unit": 8, "att_unit": 16, "head": 2, "unit": 16, "layer": 1}}

    def write(folder: Path) -> None:
        torch.manual_seed(0)
        unused = {"frontend.logmel.melmat": torch.zeros(65, 16)}
        heard = recognizers.recognizer_config(Options(common | asr, "asr"), dict)
        spoken = recognizers.language_model_config(Options(common | lm, "lm"))
        parts = (
            ("asr", common | asr, Recognizer(heard), recognizers.recognizer_rules(heard), unused),
            ("lm", common | lm, LanguageModel(spoken), recognizers.language_model_rules(spoken), {}),
        )
        for name, config, model, rules, state in parts:
            (folder / name).mkdir(parents=True)
            (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
            ours = model.state_dict()
            state = state | {rule.theirs[0]: ours[rule.ours] for rule in rules if rule.ours}
            torch.save(state, folder / name / "valid.acc.best.pth")

    return write


@pytest.fixture
def talkers() -> np.ndarray:
    """Two signals with the ups and downs of speech, (2, N), a second and a half at 8 kHz."""
    draw = np.random.default_rng(0)
    level = np.repeat(draw.random((2, 30)), 400, axis=1)
    return (0.2 * level * draw.standard_normal(level.shape)).astype(np.float32)


@pytest.fixture
def make_run(tmp_path: Path, tiny_joint: JointModel) -> Callable[..., RunDir]:
    """Makes a run of `count` test mixtures whose models are tiny; `joint=False` leaves the joint model out."""

    def make(count: int = 3, joint: bool = True, texts: bool = True) -> RunDir:
        run = RunDir(tmp_path / "run")
        run.path.mkdir()
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("sample_rate: 8000\ndecoding: {method: greedy}\n")
        run.write_recipe(load_recipe(recipe))
        tiny_joint.separator.save_pretrained(run.path / "separator")
        tiny_joint.recognizer.save_pretrained(run.path / "recognizer")
        if joint:
            tiny_joint.save_pretrained(run.path / "joint")
        write_manifest(run.manifest("test"), [_mixture(run.data, number, texts) for number in range(count)])
        return run

    return make


def _mixture(folder: Path, number: int, texts: bool) -> Mixture:
    draw = np.random.default_rng(number)
    level = np.repeat(draw.random((2, 20)), 400, axis=1)
    signals = 0.2 * level * draw.standard_normal(level.shape)
    name = f"test_{number}"
    (folder / "test").mkdir(parents=True, exist_ok=True)
    # One microphone more than the model takes.
    soundfile.write(folder / f"test/{name}.flac", np.stack([signals.sum(0), signals[0], signals[1]]).T, 8000)
    sources = []
    for speaker, signal in zip(("ann", "bob"), signals, strict=True):
        file = f"test/{name}_{speaker}.flac"
        soundfile.write(folder / file, signal, 8000)
        text = f"ABC {number}" if texts else None
        sources.append(Source(speaker=speaker, text=text, end=1.0, direct=file, early=file, image=file))
    return Mixture(id=name, audio=f"test/{name}.flac", sample_rate=8000, duration=1.0, sources=tuple(sources))


@pytest.fixture(scope="session")
def publish() -> Callable[..., Path]:
    """Writes a published set in small: `publish(kind, folder, rate=8000, length="max")`, a few mixtures a split."""

    def make(kind: str, folder: Path, rate: int = 8000, length: str = "max") -> Path:
        wav = Path(f"wav{rate // 1000}k") / length
        if kind in ("wsj0_2mix", "whamr"):
            for split, names in WSJ_MIXTURES.items():
                for name in names:
                    if kind == "whamr":
                        _write_whamr(folder / wav / split, name, rate)
                    else:
                        _write_wsj0_2mix(folder, wav / split, name, rate)
            write_wsj_transcripts(folder / "wsj0")
        elif kind == "librimix":
            for subset, name in (("train-100", "1-2-3_4-5-6"), ("dev", "11-2-3_14-5-6"), ("test", "21-2-3_24-5-6")):
                s1, s2, noise = signals(name, rate, 3)
                mixtures = {"mix_clean": s1 + s2, "mix_both": s1 + s2 + noise, "mix_single": s1 + noise}
                for place, samples in {"s1": s1, "s2": s2, "noise": noise, **mixtures}.items():
                    _write(folder / wav / subset / place / f"{name}.wav", samples[:1], rate)
                for number, utterance in enumerate(name.split("_")):
                    speaker, chapter, _ = utterance.split("-")
                    table = folder / "LibriSpeech" / speaker / chapter / f"{speaker}-{chapter}.trans.txt"
                    table.parent.mkdir(parents=True)
                    table.write_text(f"{utterance} {['ONE', 'TWO'][number]} GO\n")
        elif kind == "sms_wsj":
            _write_sms_wsj(folder, rate)
        else:
            assert kind == "libricss"
            for number in (0, 1):
                session = folder / f"OV10/overlap_ratio_10.0_sil0.1_1.0_session{number}_actual10.1"
                _write(session / "record/raw_recording.wav", np.tile(sum(signals("x", rate, 2)), (7, 1))[:7], rate)
                (session / "transcription").mkdir()
                (session / "transcription/meeting_info.txt").write_text(
                    "start_time\tend_time\tspeaker\tutterance_id\ttranscription\n"
                    "0.05\t0.3\t1188\t1188-1-2\tGO\n0.2\t0.4\t237\t237-1-2\tTWO\n"
                )
        return folder

    return make


#: Names of wsj0-2mix, which tell the utterances.
WSJ_MIXTURES = {
    "tr": ["01to030v_0.5_20ga010m_-0.5", "01to0301_1_20ga0101_-1"],
    "cv": ["01to0302_0.2_20ga0102_-0.2"],
    "tt": ["050a0501_2_22ga0101_-2"],
}


def signals(name: str, rate: int, count: int) -> list[np.ndarray]:
    """Signals (2, N) with the ups and downs of speech, of half a second."""
    draw = np.random.default_rng(sum(name.encode()))
    level = np.repeat(draw.random((count, 10)), rate // 20, axis=1)
    return [0.1 * np.stack([one, 0.9 * np.roll(one, 2)]) for one in level * draw.standard_normal(level.shape)]


def _write(path: Path, samples: np.ndarray, rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, rate, subtype="FLOAT")


def _write_wsj0_2mix(folder: Path, below: Path, name: str, rate: int) -> None:
    for room, channels in (("", 1), ("_anechoic", 8), ("_reverb", 8)):
        s1, s2 = (np.tile(one, (4, 1))[:channels] * (1 + len(room)) / 2 for one in signals(name, rate, 2))
        for place, samples in (("s1", s1), ("s2", s2), ("mix", s1 + s2)):
            # Every microphone hears something else.
            scaled = samples / (1 + np.arange(channels))[:, None]
            _write(folder / f"2speakers{room}" / below / place / f"{name}.wav", scaled, rate)


def _write_whamr(folder: Path, name: str, rate: int) -> None:
    noise = signals(name[::-1], rate, 1)[0] / 4
    _write(folder / "noise" / f"{name}.wav", noise, rate)
    for room in ("anechoic", "reverb"):
        s1, s2 = (one * (2 if room == "reverb" else 1) for one in signals(name, rate, 2))
        mixtures = {"clean": s1 + s2, "both": s1 + s2 + noise, "single": s1 + noise}
        for place, samples in {"s1": s1, "s2": s2, **{f"mix_{key}": one for key, one in mixtures.items()}}.items():
            _write(folder / f"{place}_{room}" / f"{name}.wav", samples, rate)


def write_wsj_transcripts(folder: Path) -> None:
    """What is said in the utterances of WSJ_MIXTURES."""
    folder.mkdir(parents=True)
    utterances = {part for names in WSJ_MIXTURES.values() for name in names for part in name.split("_")[::2]}
    said = "".join(f"One {'two' if name[0] == '0' else 'go'} [tap] . ({name})\n" for name in sorted(utterances))
    (folder / "all.dot").write_text(said)


def _write_sms_wsj(folder: Path, rate: int) -> None:
    sets: dict[str, dict[str, object]] = {}
    for split in ("train_si284", "cv_dev93", "test_eval92"):
        name = f"0_4k6c0303_{'4k4c0319' if split != 'test_eval92' else '440c0401'}"
        early = [np.tile(one, (3, 1)) for one in signals(split, rate, 2)]
        frames = early[0].shape[1]
        paths: dict[str, object] = {}
        for kind, samples in (("observation", sum(early)), ("noise", 0 * early[0])):
            _write(folder / kind / split / f"{name}.wav", samples, rate)
            paths["noise_image" if kind == "noise" else kind] = f"/made/there/{kind}/{split}/{name}.wav"
        for number, samples in enumerate(early):
            _write(folder / "early" / split / f"{name}_{number}.wav", samples, rate)
        paths["speech_reverberation_early"] = [f"/made/there/early/{split}/{name}_{number}.wav" for number in (0, 1)]
        sets[split] = {
            name: {
                "speaker_id": ["4k6", "4k4"],
                "kaldi_transcription": ["ONE TWO", "GO"],
                "num_samples": {"original_source": [frames, frames // 2], "observation": frames},
                "offset": [0, 100],
                "audio_path": paths,
            }
        }
    (folder / "sms_wsj.json").write_text(json.dumps({"datasets": sets}))
