"""WSJ0's layout."""

from pathlib import Path

import pytest

from sepasr_cli.corpora import WSJ0
from sepasr_cli.corpora.corpus import Checks
from sepasr_cli.corpora.wsj0 import audio_file, read, transcripts
from sepasr_cli.errors import SepasrError


@pytest.fixture(params=["", "wsj0", "11-1.1/wsj0"])
def root(request, tmp_path, tone):
    base = tmp_path / request.param
    tone(base / "si_tr_s/01t/01to030v.wav")
    tone(base / "si_tr_s/01t/01to030v.wv1")
    tone(base / "si_tr_s/01u/01uo0301.wv1")
    tone(base / "si_et_05/440/440c0201.flac")
    (base / "si_tr_s/01t/01to0300.dot").write_text("[tap] The ho:tels ,COMMA .PERIOD ~ (01to030v)\n")
    (base / "si_tr_s/01t/01to0300.ptx").write_text("The prompt, instead. (01to030v 87_051)\n")
    (base / "si_tr_s/01u/01uo0300.lsn").write_text("PLAIN WORDS (01UO0301)\n")
    (base / "si_tr_s/01u/01uo0300.ptx").write_text("The prompt, instead. (01uo0301 87_051)\n")
    (base / "si_et_05/440/440c0200.ptx").write_text("Only the prompt. (440c0201 87_051_870113-0174.1.1)\n")
    return tmp_path


def test_best_transcript_and_best_audio(root):
    found = read(WSJ0(path=root, subsets=("si_tr_s", "si_et_05")))
    assert [(u.id, u.speaker, u.text, u.audio.suffix) for u in found] == [
        ("01to030v", "01t", "THE HOTELS COMMA PERIOD", ".wav"),
        ("01uo0301", "01u", "PLAIN WORDS", ".wv1"),
        ("440c0201", "440", "ONLY THE PROMPT", ".flac"),
    ]


def test_subset_is_train_unless_said_otherwise(root):
    assert {utterance.speaker for utterance in read(WSJ0(path=root))} == {"01t", "01u"}
    with pytest.raises(SepasrError, match="holds no folder si_dt_05"):
        read(WSJ0(path=root, subsets=("si_dt_05",)))


def test_the_rule_for_texts_can_be_kaldis(root):
    (found, *_) = read(WSJ0(path=root, text="wsj_kaldi"))
    assert found.text == "THE HO:TELS ,COMMA .PERIOD"


def test_transcripts_alone(root, tmp_path):
    texts = transcripts(root)
    assert texts["01uo0301"].strip() == "PLAIN WORDS" and len(texts) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(SepasrError, match=r"holds no transcripts; expected files ending in \.dot"):
        transcripts(tmp_path / "empty")


@pytest.mark.parametrize("name", ["wsj0/si_tr_s/01t/01to030v.wav", "si_tr_s/01u/01uo0301.wav"])
def test_a_file_that_a_list_names(root, name):
    base = next(root.rglob("si_tr_s")).parent
    assert audio_file(base, name).stem == Path(name).stem
    for wrong in ("si_tr_s/01t/nope.wav", "wsj0/nope.wav"):
        with pytest.raises(SepasrError, match="no such file, nor one ending in"):
            audio_file(base, wrong)
    with pytest.raises(SepasrError, match="leads out of"):
        audio_file(base, "../../x.wav")


def test_shorten_is_named(root):
    path = next(root.rglob("01uo0301.wv1"))
    header = b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    path.write_bytes(header.ljust(1024) + b"ajkg" + bytes(100))
    with pytest.raises(SepasrError, match=r"01uo0301.wv1: NIST SPHERE compressed with shorten, .* with sph2pipe"):
        read(WSJ0(path=root))
    assert len(read(WSJ0(path=root), Checks(skip_bad=True))) == 1


def test_a_broken_transcript(root):
    path = next(root.rglob("*.dot"))
    path.write_text("no utterance named\n")
    with pytest.raises(SepasrError, match=r"01to0300.dot:1: found 'no utterance named', expected words"):
        read(WSJ0(path=root))
