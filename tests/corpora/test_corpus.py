"""What all readers share: the choice of utterances and the checks of each."""

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from sepasr_cli.corpora import Folder, read_corpora, read_speech
from sepasr_cli.corpora.corpus import Checks
from sepasr_cli.corpora.folder import read
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Utterance


@pytest.fixture
def root(tmp_path, tone):
    """Three speakers with four utterances each of 0.1 to 0.4 s, without text."""
    for speaker in ("ann", "bob", "cat"):
        for tenths in range(1, 5):
            tone(tmp_path / f"corpus/{speaker}/{tenths}.wav", tenths / 10)
    return tmp_path / "corpus"


def ids(root, **settings):
    return [utterance.id for utterance in read(Folder(path=root, transcripts=False, **settings))]


def test_choice(root, tmp_path):
    assert len(ids(root)) == 12
    assert ids(root, speakers=("bob",)) == ["bob-1", "bob-2", "bob-3", "bob-4"]
    (tmp_path / "names").write_text("cat\n\nann \n")
    assert len(ids(root, speakers=tmp_path / "names")) == 8
    assert ids(root, include=("ann-*", "*-1"), exclude=("*-[34]",)) == ["ann-1", "ann-2", "bob-1", "cat-1"]
    assert ids(root, speakers=("ann",), min_duration=0.15, max_duration=0.3) == ["ann-2", "ann-3"]
    assert ids(root, max_utterances=3) == ["ann-1", "bob-1", "cat-1"]
    assert ids(root, prefix="x-", speakers=("ann",), max_utterances=1) == ["x-ann-1"]
    assert read(Folder(path=root, transcripts=False, prefix="x-"))[0].speaker == "x-ann"


def test_speakers_are_names_or_a_file_in_a_recipe(tmp_path):
    assert Folder.model_validate({"path": "x", "speakers": ["ann"]}).speakers == ("ann",)
    assert Folder.model_validate({"path": "x", "speakers": "train.speakers"}).speakers == tmp_path.__class__(
        "train.speakers"
    )


def test_choices_that_cannot_be(root, tmp_path):
    with pytest.raises(SepasrError, match=r"speaker 'dan' asked for is not in it \(2 of 3 are not\)"):
        ids(root, speakers=("ann", "dan", "eve"))
    with pytest.raises(SepasrError, match="names: no such file"):
        ids(root, speakers=tmp_path / "names")
    with pytest.raises(SepasrError, match="no utterance left of 12 found; check path, speakers"):
        ids(root, min_duration=9)
    with pytest.raises(ValidationError, match="max_duration 1 must be above min_duration 2"):
        Folder(path=root, min_duration=2, max_duration=1)


def spoil(root):
    """One utterance of each kind of fault, and the reasons they are counted under."""
    (root / "ann/1.wav").write_bytes(b"RIFFnothing")
    (root / "ann/2.wav").write_bytes(b"")
    soundfile.write(root / "ann/3.wav", np.zeros(0), 16000)
    soundfile.write(root / "ann/4.wav", np.zeros(800), 8000)
    soundfile.write(root / "bob/1.flac", np.zeros(800), 16000)


@pytest.mark.parametrize(
    ("include", "line"),
    [
        ("ann-1", "ann/1.wav: not an audio file that can be read"),
        ("ann-2", "ann/2.wav: the file is empty"),
        ("ann-3", "ann/3.wav: the file holds no samples"),
        ("ann-4", "ann/4.wav: sample rate 8000 Hz, the run works at 16000 Hz; set resample: true"),
        ("bob-1", "bob/1.wav: id 'bob-1' is already used by .*bob/1.flac"),
    ],
)
def test_bad_utterances(root, include, line):
    spoil(root)
    with pytest.raises(SepasrError, match=line) as raised:
        read_corpora([Folder(path=root, transcripts=False, include=(include,))], False, 16000)
    assert "\n" not in str(raised.value)


def test_bad_utterances_are_left_out_and_counted(root, capsys):
    spoil(root)
    found = read_corpora([Folder(path=root, transcripts=False)], True, 16000)
    assert [utterance.id for utterance in found][:2] == ["bob-1", "bob-2"] and len(found) == 8
    told = capsys.readouterr().err
    assert "2 utterances left out, audio that cannot be read; the first: " in told and "ann/1.wav" in told
    assert "1 utterance left out, another sample rate" in told
    assert "1 utterance left out, repeated id" in told
    assert len(told.splitlines()) == 4


def test_all_bad(root):
    spoil(root)
    with pytest.raises(SepasrError, match="no utterance left of 13 found, 4 of them bad"):
        read(Folder(path=root, transcripts=False, include=("ann-*",)), Checks(16000, skip_bad=True))


def test_higher_rate_is_refused_too_and_taken_where_asked(root, tone):
    tone(root / "dan/1.wav", 0.1, sample_rate=22050, channels=2)
    config = Folder(path=root, transcripts=False, speakers=("dan",))
    with pytest.raises(SepasrError, match="sample rate 22050 Hz, the run works at 8000 Hz"):
        read_corpora([config], False, 8000)
    (found,) = read_corpora([config.model_copy(update={"resample": True})], False, 8000)
    assert found.sample_rate == 22050
    speech = read_speech(found, 8000)
    assert speech.shape == (800,) and speech.dtype == np.float32


def test_joined_corpora_share_no_id(root, capsys):
    one = Folder(path=root, transcripts=False, speakers=("ann", "bob"))
    other = Folder(path=root, transcripts=False, speakers=("bob", "cat"))
    with pytest.raises(SepasrError, match=r"corpora .* and .*: both have an utterance 'bob-1' \(.*set prefix"):
        read_corpora([one, other], False, 16000)
    assert len(read_corpora([one, other], True, 16000)) == 12
    assert "4 utterances left out, id of another corpus" in capsys.readouterr().err
    assert len(read_corpora([one, other.model_copy(update={"prefix": "z"})], False, 16000)) == 16


def test_read_speech_cuts(tmp_path):
    samples = np.arange(1600) / 3200
    soundfile.write(tmp_path / "a.wav", np.stack([samples, -samples], 1), 16000, subtype="FLOAT")
    utterance = Utterance(
        id="a", audio=tmp_path / "a.wav", speaker="s", start=0.025, end=0.05, sample_rate=16000, duration=0.025
    )
    np.testing.assert_allclose(read_speech(utterance, 16000), samples[400:800], atol=1e-6)
    assert read_speech(utterance, 8000).shape == (200,)


def test_headers_of_a_thousand_files_are_quick(tmp_path, tone):
    """A header is read once a file, and nothing else of it."""
    import time

    source = tone(tmp_path / "source.wav").read_bytes()
    for number in range(1000):
        folder = tmp_path / f"corpus/{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.wav").write_bytes(source)
    began = time.perf_counter()
    assert len(ids(tmp_path / "corpus")) == 1000
    assert time.perf_counter() - began < 2
