"""One microphone and several are separated each by weights of their own, saved as one model."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained import load_separator
from sepasr_cli.recognition.recognizer import Recognizer, RecognizerConfig
from sepasr_cli.separation import ByMicrophones, build_separator
from sepasr_cli.separation.mask_mvdr import MaskMVDRConfig
from sepasr_cli.separation.tfgridnet import TFGridNet, TFGridNetConfig

TINY = {"fft_size": 64, "hop": 32, "blocks": 1, "embedding": 4, "lstm": 4, "heads": 2, "qk_size": 66}


def network(microphones: int, **more: object) -> TFGridNet:
    config = TFGridNetConfig.model_validate(TINY | {"sample_rate": 8000, "microphones": microphones} | more)
    return TFGridNet(config).eval()


def test_each_number_of_microphones_has_its_separator() -> None:
    one, several = network(1), network(3, fewer_microphones=True)
    both = ByMicrophones.join(one, several)
    assert list(both.takes) == [1, 2, 3] and both.config.microphones == 3
    mixture = torch.randn(2, 3, 2000)
    lengths = torch.tensor([2000, 1500])
    with torch.no_grad():
        for count, separator in ((1, one), (2, several), (3, several)):
            heard = mixture[:, :count]
            assert torch.equal(both(heard, lengths), separator(heard, lengths))
        assert not torch.equal(both(mixture[:, :1]), several(mixture[:, :1]))


def test_examples_whose_other_channels_are_silent_are_of_one_microphone() -> None:
    one, several = network(1), network(3, fewer_microphones=True)
    both = ByMicrophones.join(one, several)
    mixture = torch.randn(3, 3, 2000)
    mixture[0, 1:] = 0
    mixture[1, 2:] = 0
    lengths = torch.tensor([2000, 2000, 1500])
    with torch.no_grad():
        estimates = both(mixture, lengths)
        torch.testing.assert_close(estimates[:1], one(mixture[:1, :1]))
        torch.testing.assert_close(estimates[1:], several(mixture[1:], lengths[1:]))
        assert torch.equal(both(mixture[:1]), one(mixture[:1, :1]))


def test_two_joined_are_not_joined_again() -> None:
    both = ByMicrophones.join(network(1), network(2))
    with pytest.raises(SepasrError, match=r"separators trained apart: .*several.kind.*by_microphones"):
        ByMicrophones.join(network(1), both)


@pytest.mark.parametrize(
    ("one", "several", "message"),
    [
        ({"sample_rate": 16000}, {}, "sample_rate is 16000 for one microphone, 8000 for several"),
        ({"speakers": 3}, {}, "speakers is 3 for one microphone, 2 for several"),
        ({}, {"reference_microphone": 1}, "reference_microphone must be 0"),
    ],
)
def test_they_must_fit_each_other(one: dict[str, int], several: dict[str, int], message: str) -> None:
    with pytest.raises(SepasrError, match=message):
        ByMicrophones.join(network(1, **one), network(2, **several))


def test_saved_alone_and_with_a_recogniser(tmp_path: Path, recognizer_config: RecognizerConfig) -> None:
    mvdr = build_separator(MaskMVDRConfig(sample_rate=8000, fft_size=64, hop=16, layers=1, lstm=4, projection=4))
    both = ByMicrophones.join(network(1), mvdr).eval()
    both.save_pretrained(tmp_path / "separator")
    JointModel.join(both, Recognizer(recognizer_config)).save_pretrained(tmp_path / "joint")
    rng = np.random.default_rng(0)
    for count in (1, 2):
        soundfile.write(tmp_path / f"{count}.wav", 0.1 * rng.standard_normal((8000, count)), 8000)
    for name in ("separator", "joint"):
        loaded = load_separator(str(tmp_path / name))
        assert loaded.state_dict().keys() == both.state_dict().keys()
        files = [tmp_path / "1.wav", tmp_path / "2.wav"]
        sepasr_cli.separate(files, model=str(tmp_path / name), out=tmp_path / f"{name}_out").check()
        assert len(list((tmp_path / f"{name}_out").rglob("*.wav"))) == 4
