"""Word and character error rates of several speakers. Letter: S speaker.

Speakers of a hypothesis carry no names that mean anything, so WER and CER are read under the assignment of speakers
with the fewest word errors. That is the concatenated minimum-permutation word error rate, cpWER
(https://arxiv.org/abs/2004.09249, section 4). ORC-WER asks less: each reference segment may go to any stream, whoever
spoke it (https://arxiv.org/abs/2011.02921). tcpWER asks more: words must also be at about the right time
(https://arxiv.org/abs/2307.11394).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, Literal, get_args

import jiwer
import numpy as np
from scipy.optimize import linear_sum_assignment

from sepasr_cli.scoring.normalisation import Normalisation, normalise
from sepasr_cli.transcripts import Segment

WordMetric = Literal["wer", "cer", "cpwer", "orcwer", "tcpwer"]
WORD_METRICS: tuple[WordMetric, ...] = get_args(WordMetric)
#: Seconds by which a word may be off in tcpWER, as in the CHiME-8 challenge.
COLLAR = 5.0
#: States of an exact ORC-WER, words of the streams multiplied, by segments of the reference: half a GB, two seconds.
ORC_STATES = 3e7
ORC_GREEDY = "orcwer: found greedily, at least as high as the exact one (too large to compute)"


@dataclass(frozen=True)
class ErrorRate:
    """Errors against a reference of `length` words or characters.

    >>> sum([ErrorRate(1, 0, 0, 10), ErrorRate(0, 1, 2, 10)])
    ErrorRate(substitutions=1, deletions=1, insertions=2, length=20)
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0

    @property
    def errors(self) -> int:
        """All errors together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors for each word of the reference; None where the reference is empty."""
        return self.errors / self.length if self.length else None

    def __add__(self, other: "ErrorRate") -> "ErrorRate":
        return ErrorRate(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __radd__(self, other: int) -> "ErrorRate":
        """Lets `sum` begin with 0."""
        return self


@dataclass(frozen=True)
class WordScore:
    """Errors in words and characters under one assignment of speakers, and by MeetEval's rules, over `recordings`."""

    words: ErrorRate = ErrorRate()
    characters: ErrorRate = ErrorRate()
    recordings: int = 0
    cpwer: ErrorRate = ErrorRate()
    orcwer: ErrorRate = ErrorRate()
    tcpwer: ErrorRate = ErrorRate()
    #: Why a metric is missing, or is not quite what it says, once for every recording.
    undefined: tuple[str, ...] = ()

    def __add__(self, other: "WordScore") -> "WordScore":
        return WordScore(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __radd__(self, other: int) -> "WordScore":
        """Lets `sum` begin with 0."""
        return self

    def rates(self) -> dict[str, ErrorRate]:
        """The metrics by name."""
        return {
            "wer": self.words,
            "cer": self.characters,
            "cpwer": self.cpwer,
            "orcwer": self.orcwer,
            "tcpwer": self.tcpwer,
        }


@dataclass(frozen=True)
class SpokenPair:
    """One speaker's words, and those recognised for that speaker; None where no output was left.

    `label` is the hypothesis' own name of the output.
    """

    speaker: str
    reference: str
    hypothesis: str | None
    label: str | None = None


def word_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Errors in words, by jiwer. An empty reference makes every word of the hypothesis an insertion.

    >>> word_errors("a b c", "a x")
    ErrorRate(substitutions=1, deletions=1, insertions=0, length=3)
    """
    found = jiwer.process_words(reference, hypothesis)
    return ErrorRate(found.substitutions, found.deletions, found.insertions, len(reference.split()))


def character_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Errors in characters, blanks counted, by jiwer."""
    found = jiwer.process_characters(reference, hypothesis)
    return ErrorRate(found.substitutions, found.deletions, found.insertions, len(reference))


def score_words(
    references: Sequence[str], hypotheses: Sequence[str], rule: Normalisation = "none"
) -> tuple[WordScore, tuple[int | None, ...]]:
    """Compare the texts of several speakers under the assignment with the fewest word errors.

    Args:
        references: one text a speaker, S of them.
        hypotheses: one text a speaker, in any order and any number; what is too many counts as insertions.
        rule: the normalisation of both sides.

    Returns:
        The errors of all speakers together, and for every reference the index of its hypothesis, None where none was
        left for it.
    """
    wanted = [normalise(text, rule) for text in references]
    given = [normalise(text, rule) for text in hypotheses]
    size = max(len(wanted), len(given))
    wanted += [""] * (size - len(wanted))
    given += [""] * (size - len(given))
    pairs = [[word_errors(reference, hypothesis) for hypothesis in given] for reference in wanted]
    cost = np.array([[pair.errors for pair in row] for row in pairs]).reshape(size, size)
    _, order = linear_sum_assignment(cost)
    words = sum((pairs[row][column] for row, column in enumerate(order)), ErrorRate())
    characters = sum((character_errors(wanted[row], given[column]) for row, column in enumerate(order)), ErrorRate())
    assignment = tuple(int(column) if column < len(hypotheses) else None for column in order[: len(references)])
    return WordScore(words, characters, 1), assignment


def score_transcripts(
    reference: Sequence[Segment],
    hypothesis: Sequence[Segment],
    rule: Normalisation = "none",
    collar: float = COLLAR,
    metrics: Collection[str] = WORD_METRICS,
) -> tuple[WordScore, tuple[SpokenPair, ...]]:
    """Compare two transcripts of one recording, by every metric that they allow.

    Args:
        reference: who said what when.
        hypothesis: the same, as recognised, under any names.
        rule: the normalisation of both sides, segment by segment.
        collar: seconds by which a word may be off in tcpWER.
        metrics: the ones to compute, of `WORD_METRICS`.

    Returns:
        The errors, and the words of each reference speaker beside those recognised for that speaker.
    """
    wanted, given = by_name(reference), by_name(hypothesis)
    names = list(given)
    found, assignment = score_words(list(wanted.values()), list(given.values()), rule)
    pairs = tuple(
        SpokenPair(speaker, text, None, None)
        if index is None
        else SpokenPair(speaker, text, given[names[index]], names[index])
        for (speaker, text), index in zip(wanted.items(), assignment, strict=True)
    )
    rates, undefined = _meeteval(_records(reference, rule), _records(hypothesis, rule), collar, metrics)
    rates |= {"words": found.words} if "wer" in metrics else {}
    rates |= {"characters": found.characters} if "cer" in metrics else {}
    return WordScore(**rates, recordings=1, undefined=undefined), pairs


def by_name(segments: Sequence[Segment]) -> dict[str, str]:
    """Each speaker's words in the order of time; speakers in the order of the segments."""
    texts: dict[str, list[str]] = {segment.speaker: [] for segment in segments}
    for segment in sorted(segments, key=lambda segment: segment.start_time):
        texts[segment.speaker].extend(segment.words.split())
    return {speaker: " ".join(words) for speaker, words in texts.items()}


def _records(segments: Sequence[Segment], rule: Normalisation) -> list[dict[str, Any]]:
    """SegLST for MeetEval."""
    return [
        {
            "session_id": "",
            "speaker": segment.speaker,
            "start_time": segment.start_time,
            "end_time": segment.end_time,
            "words": normalise(segment.words, rule),
        }
        for segment in segments
    ]


def _meeteval(
    reference: list[dict[str, Any]], hypothesis: list[dict[str, Any]], collar: float, metrics: Collection[str]
) -> tuple[dict[str, ErrorRate], tuple[str, ...]]:
    """Those of cpWER, ORC-WER and tcpWER that are asked for, and why others are missing."""
    from meeteval import wer
    from meeteval.io import SegLST

    wanted, given = SegLST(reference), SegLST(hypothesis)
    rates, undefined = {}, []
    if "cpwer" in metrics:
        rates["cpwer"] = _rate(wer.cp_word_error_rate(wanted, given))
    if "orcwer" in metrics:
        said = [record["words"] for record in reference if record["words"]]
        streams: dict[str, int] = {}
        for record in hypothesis:
            streams[record["speaker"]] = streams.get(record["speaker"], 0) + len(record["words"].split())
        if not said or not any(streams.values()):
            # MeetEval's exact ORC-WER fails where one side is empty.
            rates["orcwer"] = ErrorRate(0, _length(said), sum(streams.values()), _length(said))
        elif len(said) * prod(length + 1 for length in streams.values()) > ORC_STATES or len(streams) > 10:
            rates["orcwer"] = _rate(wer.greedy_orc_word_error_rate(wanted, given))
            undefined.append(ORC_GREEDY)
        else:
            rates["orcwer"] = _rate(wer.orc_word_error_rate(wanted, given))
    if "tcpwer" in metrics:
        without = [
            side for side, records in (("reference", reference), ("hypothesis", hypothesis)) if not _timed(records)
        ]
        if without:
            undefined.append(f"tcpwer: the {' and the '.join(without)} has no times")
        else:
            constrained = wer.time_constrained_minimum_permutation_word_error_rate
            rates["tcpwer"] = _rate(constrained(wanted, given, collar=collar))
    return rates, tuple(undefined)


def _timed(records: list[dict[str, Any]]) -> bool:
    spoken = [record for record in records if record["words"]]
    return not spoken or any(record["end_time"] > record["start_time"] for record in spoken)


def _length(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)


def _rate(found: Any) -> ErrorRate:
    return ErrorRate(found.substitutions, found.deletions, found.insertions, found.length)
