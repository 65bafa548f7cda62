"""Kaldi data directories."""

import os
from pathlib import Path

import pytest

from sepasr_cli.corpora import Kaldi
from sepasr_cli.corpora.corpus import Checks
from sepasr_cli.corpora.kaldi import read
from sepasr_cli.errors import SepasrError

DATA = Path(os.environ.get("SEPASR_TEST_DATA", Path(__file__).parents[2].parent / "shared/data"))


@pytest.fixture
def root(tmp_path, tone):
    """Two recordings, one of them named by an absolute path."""
    folder = tmp_path / "data"
    tone(folder / "wav/r1.flac", 0.5)
    tone(tmp_path / "elsewhere/r2.wav", 0.25)
    (folder / "wav.scp").write_text(f"r1 wav/r1.flac\nr2 {tmp_path / 'elsewhere/r2.wav'}\n")
    (folder / "text").write_text("r1 hello there\nr2 bye\n")
    (folder / "utt2spk").write_text("r1 ann\nr2 bob\n")
    return folder


@pytest.fixture
def segmented(root):
    (root / "segments").write_text("u1 r1 0.0 0.2\nu2 r1 0.2 -1\nu3 r2 0.05 0.25\n")
    (root / "text").write_text("u1 one\nu2 two\nu3 three\n")
    (root / "utt2spk").write_text("u1 ann\nu2 bob\nu3 bob\n")
    return root


def test_recordings(root):
    found = read(Kaldi(path=root))
    assert [(utterance.id, utterance.speaker, utterance.text, utterance.duration) for utterance in found] == [
        ("r1", "ann", "HELLO THERE", 0.5),
        ("r2", "bob", "BYE", 0.25),
    ]
    assert found[0].audio == root / "wav/r1.flac"


def test_segments(segmented):
    found = read(Kaldi(path=segmented))
    assert [(u.id, u.start, u.end, round(u.duration, 6)) for u in found] == [
        ("u1", 0.0, 0.2, 0.2),
        ("u2", 0.2, None, 0.3),
        ("u3", 0.05, 0.25, 0.2),
    ]


@pytest.mark.parametrize("value", ["sph2pipe -f wav r1.sph |", "cat wav/r1.flac |", "| touch ran"])
def test_a_pipe_is_refused_and_not_run(root, value):
    (root / "wav.scp").write_text(f"r1 {value}\n")
    with pytest.raises(SepasrError, match=r"wav.scp:1: a command with a pipe, which is not run"):
        read(Kaldi(path=root), Checks(skip_bad=True))
    assert not (root / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("wav.scp", "r1 feats.ark:17\n", "wav.scp:1: a place in a Kaldi archive"),
        ("wav.scp", "r1\n", "wav.scp:1: found 'r1', expected a name and a value"),
        ("wav.scp", "r1 wav/r1.flac\nr1 b.wav\n", "wav.scp:2: 'r1' is already on .*wav.scp:1"),
        ("wav.scp", "r1 wav/r3.flac\n", "r3.flac: no such file"),
        ("utt2spk", "r1 ann\n", "utt2spk: has no line for utterance 'r2'"),
        ("text", "r1 hello\n", "'r2' has no transcript"),
        ("text", "r1 hello\nr2\n", "'r2' has a transcript without words"),
        ("segments", "u1 r1 0.0\n", "segments:1: found 'u1 r1 0.0', expected utterance, recording, start and end"),
        ("segments", "u1 r1 a b\n", "segments:1: found 'u1 r1 a b'"),
        ("segments", "u1 r1 0 nan\n", "segments:1: found"),
        ("segments", "u1 r9 0 1\n", "segments:1: recording 'r9' is not in"),
        ("segments", "r1 r1 0 0.9\n", "segments:1: 'r1' lasts from 0 to 0.9 s, its file .* from 0 to 0.5 s"),
        ("segments", "r1 r1 0.3 0.3\n", "'r1' lasts from 0.3 to 0.3 s; expected some audio"),
    ],
)
def test_errors(root, file, content, line):
    (root / file).write_text(content)
    with pytest.raises(SepasrError, match=line):
        read(Kaldi(path=root))


def test_a_file_that_is_missing(root):
    (root / "utt2spk").unlink()
    with pytest.raises(SepasrError, match="holds no utt2spk; expected the layout of kaldi"):
        read(Kaldi(path=root))


@pytest.mark.skipif(not (DATA / "speechocean762").is_dir(), reason="speechocean762 is not here")
def test_the_corpus():
    found = read(Kaldi(path=DATA / "speechocean762"))
    assert len(found) == 670 and len({utterance.speaker for utterance in found}) == 67
