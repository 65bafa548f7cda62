"""Synthetic speech of eSpeak NG."""

import subprocess
import sys

import numpy as np
import pytest

from sepasr_cli import audio
from sepasr_cli.corpora import Espeak, read_corpora
from sepasr_cli.corpora.espeak import read
from sepasr_cli.errors import SepasrError


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.wav"))}


def needs_espeak():
    return pytest.importorskip("espeakng_loader", reason="the extra 'espeak' is not installed")


def test_voices_texts_and_audio(tmp_path):
    needs_espeak()
    found = read_corpora([Espeak(path=tmp_path, voices=3, utterances=3)], False, 8000)
    assert [utterance.id for utterance in found[:4]] == [
        "espeak0-000-000",
        "espeak0-000-001",
        "espeak0-000-002",
        "espeak0-001-000",
    ]
    assert len({utterance.speaker for utterance in found}) == 3
    assert len({utterance.text for utterance in found}) > 6
    for utterance in found:
        samples, rate = audio.read(utterance.audio)
        assert rate == utterance.sample_rate == 8000 and samples.shape[0] == 1
        assert 0.3 < utterance.duration < 6
        assert float(np.sqrt((samples**2).mean())) > 0.01 and np.abs(samples).max() < 1


def test_bytes_are_the_same_in_another_process_whatever_was_made_before(tmp_path):
    needs_espeak()
    read(Espeak(path=tmp_path / "here", voices=2, utterances=2))
    program = (
        "import sys; from pathlib import Path; from sepasr_cli.corpora.espeak import Espeak, read; "
        "path = Path(sys.argv[1]); read(Espeak(path=path, voices=1, utterances=1, seed=5)); "
        "read(Espeak(path=path, voices=2, utterances=2))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "there")], check=True)
    here, there = content(tmp_path / "here"), content(tmp_path / "there")
    assert len(here) == 4 and here.items() <= there.items()


def test_what_is_there_is_used_again(tmp_path):
    needs_espeak()
    config = Espeak(path=tmp_path, voices=1, utterances=2)
    first, second = read(config)
    times = [utterance.audio.stat().st_mtime_ns for utterance in (first, second)]
    second.audio.unlink()
    assert read(config) == [first, second]
    assert first.audio.stat().st_mtime_ns == times[0] and second.audio.stat().st_mtime_ns != times[1]
    (other, _) = read(config.model_copy(update={"seed": 1}))
    assert other.audio != first.audio and other.speaker == "espeak1-000"


def test_given_texts(tmp_path):
    needs_espeak()
    (tmp_path / "texts").write_text("Good morning.\n\nHow are you?\n")
    found = read(Espeak(path=tmp_path / "audio", voices=2, utterances=4, text_file=tmp_path / "texts"))
    assert {utterance.text for utterance in found} == {"GOOD MORNING", "HOW ARE YOU"}
    (tmp_path / "texts").write_text("\n")
    with pytest.raises(SepasrError, match="texts: holds no text"):
        read(Espeak(path=tmp_path / "audio", text_file=tmp_path / "texts"))


def test_a_text_that_makes_no_sound(tmp_path):
    needs_espeak()
    (tmp_path / "texts").write_text("\u200b\n")
    with pytest.raises(SepasrError, match=r"corpus espeak: .*; change the text or the seed"):
        read(Espeak(path=tmp_path / "audio", voices=1, utterances=1, text_file=tmp_path / "texts", transcripts=False))


def test_espeak_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SepasrError, match=r"eSpeak NG is not installed; run: pip install 'sepasr\[espeak\]'"):
        read(Espeak(path=tmp_path))
