"""What there is to say of a recording once it has passed: how its windows were joined, and who spoke how long."""

from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

from sepasr_cli.inference.activity import Span
from sepasr_cli.inference.long_form import Join


@dataclass
class Summary:
    """Filled in while a recording passes; times are in seconds."""

    sample_rate: int = 1
    joins: list[Join] = field(default_factory=list)
    #: Speech in each stream, and when it first begins: infinity where there is none.
    spoken: list[float] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    #: Start and end of every span of speech, whoever speaks.
    spans: list[tuple[float, float]] = field(default_factory=list)
    #: Of every word, how sure the recogniser is of it, where that was asked for.
    confidences: list[float] = field(default_factory=list)

    def begin(self, streams: int, sample_rate: int) -> None:
        """A recording of so many streams begins."""
        self.sample_rate, self.joins, self.spans, self.confidences = sample_rate, [], [], []
        self.spoken, self.begins = [0.0] * streams, [inf] * streams

    def note(self, spans: list[Span]) -> list[Span]:
        """Take in spans of speech, which are given back."""
        for span in spans:
            self.spoken[span.stream] += (span.end - span.start) / self.sample_rate
            self.begins[span.stream] = min(self.begins[span.stream], span.start / self.sample_rate)
            self.spans.append((span.start / self.sample_rate, span.end / self.sample_rate))
        return spans

    def speakers(self, most: int | None = None) -> list[int]:
        """The streams in which somebody speaks, `most` at most, those with most speech; the first to speak first."""
        speaking = [stream for stream, seconds in enumerate(self.spoken) if seconds > 0]
        kept = sorted(speaking, key=lambda stream: -self.spoken[stream])[:most]
        return sorted(kept, key=lambda stream: self.begins[stream])

    def pauses(self, duration: float) -> tuple[float, float]:
        """Seconds in which nobody speaks, of a recording of that length: in all, and at most at once."""
        total = longest = end = 0.0
        for start, until in [*sorted(self.spans), (duration, duration)]:
            total, longest = total + max(start - end, 0.0), max(longest, start - end)
            end = max(end, until)
        return total, longest

    def confidence(self, sample: int) -> float | None:
        """Confidence of the join of the window that a sample is in; None in the first."""
        before = [join for join in self.joins if join.start <= sample]
        return round(before[-1].confidence, 3) if before else None

    def lines(self, most: int | None = None) -> list[str]:
        """What people should know, a line each: streams left out, windows joined without being sure."""
        streams, found, kept = len(self.spoken), len(self.speakers()), len(self.speakers(most))
        lines = []
        if found == 0:
            lines.append("no speech was found")
        elif found < streams:
            lines.append(f"{found} of {streams} streams hold speech, the other{'s' * (streams - found > 1)} left out")
        if kept < found:
            lines.append(f"{found} speakers found, the {kept} with most speech kept")
        if unsure := [join for join in self.joins if join.by == "neither"]:
            times = ", ".join(f"{join.start / self.sample_rate:.0f}" for join in unsure[:5])
            more = ", ..." if len(unsure) > 5 else ""
            lines.append(f"speakers may change places at {len(unsure)} of {len(self.joins)} joins: {times}{more} s")
        return lines

    def record(self) -> dict[str, Any]:
        """As JSON: seconds of speech of each stream, and every join."""
        joins = [asdict(join) for join in self.joins]
        for join in joins:
            join["start"] = round(join["start"] / self.sample_rate, 3)
            join["confidence"] = round(join["confidence"], 3)
        return {"spoken": [round(seconds, 2) for seconds in self.spoken], "joins": joins}
