"""TextGrid of Praat (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html): a tier a speaker.

One recording a file. A tier's intervals follow each other without overlap, those of two tiers may overlap. Word times
stand in a tier of their own beside the speaker's, named `speaker - words`.
"""

import re
from collections.abc import Sequence

from sepasr_cli.errors import SepasrError
from sepasr_cli.transcripts.segment import Segment, in_time, seconds

WORDS = " - words"

#: What Praat reads: texts in quotes, numbers that stand free; all else is there for people.
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)')

#: An interval lasts, in seconds.
_SHORTEST = 0.001

#: Start, end and text.
Interval = tuple[float, float, str]


def write(segments: Sequence[Segment]) -> str:
    """In Praat's long form."""
    tiers: dict[str, list[Interval]] = {}
    for speaker in dict.fromkeys(segment.speaker for segment in segments):
        spoken = apart([segment for segment in segments if segment.speaker == speaker and segment.text])
        tiers[speaker] = [(segment.start_time, segment.end_time, segment.text) for segment in spoken]
        if any(segment.word_times for segment in spoken):
            tiers[speaker + WORDS] = [
                (*times, word)
                for segment in spoken
                if segment.word_times is not None
                for word, times in zip(segment.words.split(), segment.word_times, strict=True)
            ]
    end = max((max(segment.end_time, segment.start_time + _SHORTEST) for segment in segments), default=_SHORTEST)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds(end)}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        tiled = _tiled(intervals, end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {seconds(end)}", f"        intervals: size = {len(tiled)}"]
        for place, (start, stop, text) in enumerate(tiled, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {seconds(start)}"]
            lines += [f"            xmax = {seconds(stop)}", f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def apart(segments: Sequence[Segment]) -> list[Segment]:
    """One speaker's segments, each of which lasts; those that overlap are joined, as a tier holds no overlap."""
    joined: list[Segment] = []
    for segment in in_time(segments):
        end = max(segment.end_time, segment.start_time + _SHORTEST)
        if not joined or segment.start_time >= joined[-1].end_time:
            joined.append(segment.model_copy(update={"end_time": end}))
            continue
        before = joined[-1]
        joined[-1] = Segment(
            session_id=before.session_id,
            speaker=before.speaker,
            start_time=before.start_time,
            end_time=max(before.end_time, end),
            words=f"{before.text} {segment.text}",
        )
    return joined


def read(text: str, origin: str, session: str) -> list[Segment]:
    """Segments of all interval tiers, in Praat's long form or short; intervals without text are silence."""
    tiers = _tiers(text, origin)
    segments = []
    for name, intervals in tiers.items():
        if name.endswith(WORDS) and name.removesuffix(WORDS) in tiers:
            continue
        timed = tiers.get(name + WORDS, [])
        for start, end, spoken in intervals:
            words = " ".join(spoken.split())
            inside = [interval for interval in timed if start <= interval[0] and interval[1] <= end]
            known = bool(inside) and [word for _, _, word in inside] == words.split()
            segments.append(
                Segment(
                    session_id=session,
                    speaker=name,
                    start_time=start,
                    end_time=end,
                    words=words,
                    word_times=tuple((first, last) for first, last, _ in inside) if known else None,
                )
            )
    return in_time(segments)


def _tiled(intervals: Sequence[Interval], end: float) -> list[Interval]:
    """The intervals with silence between them, from 0 to `end`; what would not last is left out."""
    tiled: list[Interval] = []
    last = 0.0
    for first, stop, text in sorted(intervals):
        start = max(first, last)
        if stop <= start:
            continue
        if start > last:
            tiled.append((last, start, ""))
        tiled.append((start, stop, text))
        last = stop
    if last < end:
        tiled.append((last, end, ""))
    return tiled


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', '""') + '"'


def _tiers(text: str, origin: str) -> dict[str, list[Interval]]:
    """The intervals that hold text, by the name of their tier; tiers of points are left out."""
    tokens = [
        float(match[2]) if match[2] is not None else match[1].replace('""', '"') for match in _TOKEN.finditer(text)
    ]
    if "TextGrid" not in tokens[:2]:
        raise SepasrError(f"{origin}: does not begin as a TextGrid; expected one that Praat wrote")
    tiers: dict[str, list[Interval]] = {}
    at = 5
    try:
        for _ in range(int(tokens[4])):
            kind, name, count = tokens[at], str(tokens[at + 1]), int(tokens[at + 4])
            size = 3 if kind == "IntervalTier" else 2
            at += 5
            for place in range(at, at + size * count, size):
                if size == 3:
                    start, end, spoken = float(tokens[place]), float(tokens[place + 1]), str(tokens[place + 2])
                    if not start < end:
                        raise SepasrError(f"{origin}: tier '{name}' has an interval from {start:g} to {end:g} s")
                    tiers.setdefault(name, []).extend([(start, end, spoken)] if spoken.strip() else [])
            at += size * count
            if at > len(tokens):
                raise IndexError
    except (IndexError, ValueError):
        raise SepasrError(f"{origin}: cut off or not as Praat writes it; expected tiers of intervals") from None
    return tiers
