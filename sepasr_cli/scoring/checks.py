"""Refuses transcripts that cannot be meant: a column taken for another, another alphabet, far too many speakers."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from sepasr_cli.errors import SepasrError
from sepasr_cli.scoring.material import MOST_SPEAKERS
from sepasr_cli.scoring.recordings import SpokenTexts

#: Letters on each side that say which alphabet a text is in, and the share of foreign ones that is no accident.
ENOUGH_LETTERS, FOREIGN = 20, 0.9
#: A segment of more seconds is in another unit, such as milliseconds or samples.
LONGEST = 24 * 3600.0


def check_transcripts(recordings: Sequence[SpokenTexts]) -> list[str]:
    """See that two sets of transcripts can be compared.

    Returns:
        What is odd but may be meant, a line each.

    Raises:
        SepasrError: with the numbers, where something cannot be meant.
    """
    for recording in recordings:
        for side, segments in (("reference", recording.reference), ("hypothesis", recording.hypothesis)):
            speakers = {segment.speaker for segment in segments}
            if len(speakers) > MOST_SPEAKERS:
                raise SepasrError(
                    f"the {side} of '{recording.id}' has {len(speakers)} speakers ({', '.join(sorted(speakers)[:3])}, "
                    f"...), expected at most {MOST_SPEAKERS}; is this the right column?"
                )
            last = max((segment.end_time for segment in segments), default=0.0)
            if last > LONGEST:
                raise SepasrError(
                    f"the {side} of '{recording.id}' ends at {last:g} s, more than a day; are its times in seconds?"
                )
    said = [segment.words for recording in recordings for segment in recording.reference]
    heard = [segment.words for recording in recordings for segment in recording.hypothesis]
    wanted, given = scripts(said), scripts(heard)
    if min(wanted.total(), given.total()) >= ENOUGH_LETTERS:
        foreign = sum(count for name, count in given.items() if name not in wanted) / given.total()
        if foreign >= FOREIGN:
            raise SepasrError(
                f"the hypothesis is in another alphabet: {_shares(given)}, the reference is {_shares(wanted)}; compare "
                "texts of one language"
            )
    return _odd(said, heard)


def scripts(texts: Iterable[str]) -> Counter[str]:
    """Letters by the alphabet that Unicode's names begin with.

    >>> scripts(["Да, yes"])
    Counter({'LATIN': 3, 'CYRILLIC': 2})
    """
    letters = (letter for text in texts for letter in text if letter.isalpha())
    return Counter(unicodedata.name(letter, "UNKNOWN").split()[0] for letter in letters)


def _odd(said: Sequence[str], heard: Sequence[str]) -> list[str]:
    many, few = sum(len(text.split()) for text in heard), sum(len(text.split()) for text in said)
    if many > 3 * few + 20:
        return [f"the hypothesis has {many} words, the reference {few}; is this the right pair?"]
    return []


def _shares(found: Counter[str]) -> str:
    return ", ".join(f"{name.lower()} {count / found.total():.0%}" for name, count in found.most_common(2))
