"""Folders of audio."""

import pytest

from sepasr_cli.corpora import Folder
from sepasr_cli.corpora.folder import read
from sepasr_cli.errors import SepasrError


def test_speakers_ids_and_texts(tmp_path, tone):
    for name, text in (("ann/1/x.wav", "one\ntwo"), ("ann/2/x.flac", "three"), ("bob.wav", "four")):
        tone(tmp_path / name).with_suffix(".txt").write_text(text)
    tone(tmp_path / ".hidden/y.wav")
    assert [(u.id, u.speaker, u.text) for u in read(Folder(path=tmp_path))] == [
        ("ann-1-x", "ann", "ONE TWO"),
        ("ann-2-x", "ann", "THREE"),
        ("bob", "bob", "FOUR"),
    ]


def test_text_is_missing_or_empty(tmp_path, tone):
    words = tone(tmp_path / "a.wav").with_suffix(".txt")
    with pytest.raises(SepasrError, match=r"a.wav: 'a' has no transcript; add one, or set transcripts: false"):
        read(Folder(path=tmp_path))
    words.write_text(" ...\n")
    with pytest.raises(SepasrError, match="'a' has a transcript without words"):
        read(Folder(path=tmp_path))
    assert read(Folder(path=tmp_path, transcripts=False))[0].text is None
    words.write_text("one")
    assert read(Folder(path=tmp_path, transcripts=False))[0].text == "ONE"
    assert read(Folder(path=tmp_path, transcripts="unread"))[0].text is None


def test_two_files_of_one_name(tmp_path, tone):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "a.flac")
    with pytest.raises(SepasrError, match=r"a.wav: id 'a' is already used by .*a.flac"):
        read(Folder(path=tmp_path, transcripts=False))


def test_a_folder_that_is_missing_or_holds_no_audio(tmp_path):
    with pytest.raises(SepasrError, match="none: no such folder; check 'path' in the recipe"):
        read(Folder(path=tmp_path / "none"))
    with pytest.raises(SepasrError, match="no utterance left of 0 found"):
        read(Folder(path=tmp_path))
