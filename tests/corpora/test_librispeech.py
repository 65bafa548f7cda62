"""LibriSpeech's layout."""

import os
from pathlib import Path

import pytest

from sepasr_cli.corpora import LibriSpeech
from sepasr_cli.corpora.librispeech import read
from sepasr_cli.errors import SepasrError

DATA = Path(os.environ.get("SEPASR_TEST_DATA", Path(__file__).parents[2].parent / "shared/data"))


@pytest.fixture
def root(tmp_path, tone):
    tone(tmp_path / "dev-clean/84/121123/84-121123-0000.flac")
    tone(tmp_path / "dev-clean/84/121123/84-121123-0001.flac")
    tone(tmp_path / "test-clean/61/70968/61-70968-0000.wav")
    tone(tmp_path / "test-clean/61/70968/intro.wav")
    (tmp_path / "dev-clean/84/121123/84-121123.trans.txt").write_text(
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS THAN FIVE MINUTES\n"
    )
    return tmp_path


def test_subset(root):
    found = read(LibriSpeech(path=root, subsets=("dev-clean",)))
    assert [(utterance.id, utterance.speaker, utterance.text) for utterance in found] == [
        ("84-121123-0000", "84", "GO DO YOU HEAR"),
        ("84-121123-0001", "84", "BUT IN LESS THAN FIVE MINUTES"),
    ]
    assert len(read(LibriSpeech(path=root / "dev-clean"))) == 2


def test_without_transcripts(root):
    with pytest.raises(SepasrError, match=r"61-70968-0000.wav: '61-70968-0000' has no transcript"):
        read(LibriSpeech(path=root))
    found = read(LibriSpeech(path=root, transcripts=False))
    assert [utterance.text for utterance in found if utterance.speaker == "61"] == [None]
    assert len(found) == 3


def test_missing_subset_and_folder_without_speech(root, tmp_path):
    with pytest.raises(SepasrError, match="holds no dev-other"):
        read(LibriSpeech(path=root, subsets=("dev-other",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SepasrError, match="no utterance left of 0 found"):
        read(LibriSpeech(path=tmp_path / "empty"))


@pytest.mark.skipif(not (DATA / "librispeech").is_dir(), reason="LibriSpeech is not here")
def test_the_corpus():
    found = read(LibriSpeech(path=DATA / "librispeech", subsets=("train-clean-100",), transcripts=False))
    assert len(found) == len({utterance.speaker for utterance in found}) == 251
