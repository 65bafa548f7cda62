import json

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.tokens import BLANK_ID, UNKNOWN_ID, Vocabulary
from sepasr_cli.settings import validate

TEXTS = ["the cat sat on the mat", "the dog ate the cat's mat", "so it goes", "ärger", "", "  the   end "]


@pytest.mark.parametrize(("kind", "size"), [("characters", None), ("bpe", 40)])
def test_texts_survive_encoding_saving_and_decoding(kind, size):
    vocabulary = Vocabulary.train(TEXTS, kind, size)
    again = validate(Vocabulary, json.loads(json.dumps(vocabulary.model_dump(mode="json"))), "test")
    assert again == vocabulary
    for text in TEXTS:
        ids = vocabulary.encode(text)
        assert again.encode(text) == ids
        assert again.decode([vocabulary.boundary_id, BLANK_ID, *ids, vocabulary.boundary_id]) == " ".join(text.split())


@pytest.mark.parametrize(("kind", "size"), [("characters", None), ("bpe", 40)])
def test_an_unknown_character_is_unknown_and_special_names_are_plain_text(kind, size):
    vocabulary = Vocabulary.train(TEXTS, kind, size)
    assert UNKNOWN_ID in vocabulary.encode("the zebra")
    assert UNKNOWN_ID not in vocabulary.encode("the cat")
    assert BLANK_ID not in vocabulary.encode("<blank>")
    assert vocabulary.boundary_id not in vocabulary.encode("<sos/eos>")


def test_marks_are_one_token_each():
    tokens = ("<blank>", "<unk>", "<NOISE>", "<space>", "<*IN*>", "A", "B", "<sos/eos>")
    vocabulary = Vocabulary(kind="characters", tokens=tokens)
    assert vocabulary.encode("A <NOISE>B<*IN*>") == [5, 3, 2, 6, 4]
    assert vocabulary.decode([5, 3, 2, 6, 4]) == "A <NOISE>B<*IN*>"
    assert vocabulary.encode("<space>")[0] == UNKNOWN_ID


def test_bpe_has_the_size_asked_for_and_merges_what_is_frequent():
    vocabulary = Vocabulary.train(TEXTS, "bpe", 40)
    assert len(vocabulary.tokens) == 40
    assert len(vocabulary.encode("the")) == 1
    assert Vocabulary.train(TEXTS, "bpe", 40) == vocabulary


def test_no_text_and_too_small_a_size_are_refused():
    with pytest.raises(SepasrError, match="text is empty"):
        Vocabulary.train(["", "  "], "characters")
    with pytest.raises(SepasrError, match="10 BPE tokens were asked for"):
        Vocabulary.train(TEXTS, "bpe", 10)


@pytest.mark.parametrize(
    "tokens",
    [("<blank>", "<unk>", "<sos/eos>"), ("a", "<blank>", "<unk>", "b"), ("<blank>", "<unk>", "ab", "<sos/eos>")],
)
def test_a_broken_vocabulary_is_refused(tokens):
    with pytest.raises(SepasrError):
        validate(Vocabulary, {"kind": "characters", "tokens": tokens}, "test")


def test_tokens_are_written_one_a_line(tmp_path):
    vocabulary = Vocabulary.train(["a b"], "characters")
    vocabulary.save_text(tmp_path / "tokens.txt")
    assert (tmp_path / "tokens.txt").read_text().splitlines() == ["<blank>", "<unk>", "<space>", "a", "b", "<sos/eos>"]


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_words_are_those_of_the_text(kind):
    vocabulary = Vocabulary.train(["the cat sat on the mat", "a cat"], kind, 16)
    for text in ("the cat sat", "a", "mat the a cat on", "cat zoo", ""):
        ids = vocabulary.encode(text)
        words = [vocabulary.decode([ids[place] for place in places]) for places in vocabulary.words(ids)]
        assert words == vocabulary.decode(ids).split()
    blanks = [0, *vocabulary.encode("a cat"), 0, vocabulary.boundary_id]
    assert len(vocabulary.words(blanks)) == 2
