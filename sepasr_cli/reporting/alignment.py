"""Words said beside words heard, one by one."""

from dataclasses import dataclass
from typing import Literal

import jiwer

Kind = Literal["hit", "substitution", "deletion", "insertion"]


@dataclass(frozen=True)
class Word:
    """One place of an alignment; `said` is empty for an insertion, `heard` for a deletion."""

    kind: Kind
    said: str
    heard: str


def align(reference: str, hypothesis: str) -> list[Word]:
    """Align two texts with the fewest word errors, by jiwer.

    >>> [(word.kind, word.said, word.heard) for word in align("a b c", "a x c d")]
    [('hit', 'a', 'a'), ('substitution', 'b', 'x'), ('hit', 'c', 'c'), ('insertion', '', 'd')]
    """
    if not reference.split():
        return [Word("insertion", "", word) for word in hypothesis.split()]
    found = jiwer.process_words(reference, hypothesis)
    said, heard = found.references[0], found.hypotheses[0]
    words = []
    for chunk in found.alignments[0]:
        before = said[chunk.ref_start_idx : chunk.ref_end_idx]
        after = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "delete":
            words += [Word("deletion", word, "") for word in before]
        elif chunk.type == "insert":
            words += [Word("insertion", "", word) for word in after]
        else:
            kind: Kind = "hit" if chunk.type == "equal" else "substitution"
            words += [Word(kind, one, two) for one, two in zip(before, after, strict=True)]
    return words
