"""AN4's layout."""

import os
from pathlib import Path

import pytest

from sepasr_cli.corpora import AN4
from sepasr_cli.corpora.an4 import read
from sepasr_cli.errors import SepasrError

DATA = Path(os.environ.get("SEPASR_TEST_DATA", Path(__file__).parents[2].parent / "shared/data"))


@pytest.fixture
def root(tmp_path, tone):
    tone(tmp_path / "wav/an4_clstk/fash/an251-fash-b.sph", 0.25)
    tone(tmp_path / "wav/an4_clstk/mcel/cen1-mcel-b.flac")
    tone(tmp_path / "wav/an4test_clstk/fcaw/an406-fcaw-b.wav")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/an4_train.fileids").write_text("an4_clstk/fash/an251-fash-b\nan4_clstk/mcel/cen1-mcel-b\n")
    (tmp_path / "etc/an4_train.transcription").write_text(
        "<s> YES </s> (an251-fash-b)\n<s> H I <sil> N T </s> (cen1-mcel-b)\n"
    )
    (tmp_path / "etc/an4_test.fileids").write_text("an4test_clstk/fcaw/an406-fcaw-b\n")
    (tmp_path / "etc/an4_test.transcription").write_text("RUBOUT G M E F (an406-fcaw-b)\n")
    return tmp_path


def test_all_lists(root):
    found = {utterance.id: utterance for utterance in read(AN4(path=root))}
    assert set(found) == {"an251-fash-b", "cen1-mcel-b", "an406-fcaw-b"}
    first = found["an251-fash-b"]
    assert (first.speaker, first.text, first.sample_rate, first.duration) == ("fash", "YES", 16000, 0.25)
    assert first.audio == root / "wav/an4_clstk/fash/an251-fash-b.sph"
    assert found["cen1-mcel-b"].text == "H I N T"


@pytest.mark.parametrize("split", ["train", "an4_train"])
def test_one_list(root, split):
    assert [utterance.speaker for utterance in read(AN4(path=root, split=split))] == ["fash", "mcel"]


def test_audio_is_found_from_a_relative_path(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert all(utterance.audio.is_absolute() for utterance in read(AN4(path=Path(root.name))))


def test_errors(root):
    with pytest.raises(SepasrError, match="no list for split 'dev'; found an4_test, an4_train"):
        read(AN4(path=root, split="dev"))
    with pytest.raises(SepasrError, match="no such folder"):
        read(AN4(path=root / "nothing"))
    with pytest.raises(SepasrError, match="holds no etc; expected the layout of an4"):
        read(AN4(path=root / "wav"))
    (root / "etc/an4_test.transcription").write_text("RUBOUT G M E F\n")
    with pytest.raises(SepasrError, match=r"an4_test.transcription:1: found 'RUBOUT G M E F', expected words and then"):
        read(AN4(path=root))


def test_missing_transcript_and_missing_audio(root):
    (root / "etc/an4_test.transcription").unlink()
    with pytest.raises(SepasrError, match=r"an4_test.fileids:1: 'an406-fcaw-b' has no transcript; add one, or set"):
        read(AN4(path=root))
    assert len(read(AN4(path=root, transcripts=False))) == 3
    (root / "wav/an4_clstk/mcel/cen1-mcel-b.flac").unlink()
    with pytest.raises(SepasrError, match=r"cen1-mcel-b.sph: no such file"):
        read(AN4(path=root, split="train"))


@pytest.mark.skipif(not (DATA / "an4").is_dir(), reason="the AN4 corpus is not here")
def test_the_corpus():
    path = DATA / "an4"
    found = read(AN4(path=path))
    assert len(found) == 948 and len({utterance.speaker for utterance in found}) == 74
    assert all(utterance.text and "<" not in utterance.text for utterance in found)
    assert 0.70 < sum(utterance.duration for utterance in found) / 3600 < 0.72
    counts = [len(read(AN4(path=path, speakers=path / f"{split}.speakers"))) for split in ("train", "dev", "test")]
    assert counts == [774, 70, 104]
