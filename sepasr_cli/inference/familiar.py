"""In what a recording is unlike those that the bundled model was trained on, as far as a pass through it tells."""

from collections.abc import Iterator

from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.inference.recording import Recording
from sepasr_cli.inference.summary import Summary

#: In training somebody speaks nearly all the time. Unlike it are pauses of so many seconds on end, or in all where they
#: are so large a share of the recording.
LONG_PAUSE, SHARE_OF_PAUSES = 5.0, 0.5
#: Words of its vocabulary are recognised with more than this on average; of a few words the average says nothing.
CONFIDENT, FEWEST_WORDS = 0.6, 3
#: Voices that fit none of those before at so many joins and so large a share of them may be of more people.
UNSURE_JOINS, SHARE_OF_JOINS = 2, 1 / 3


def unlike_training(
    recording: Recording,
    summary: Summary,
    pipeline: Pipeline,
    trained_on: str,
    speakers: int | None = None,
) -> Iterator[str]:
    """What people should know before they trust the results, a line each.

    Args:
        recording: the file.
        summary: of its passage through the model.
        pipeline: the model.
        trained_on: what the model was trained on, in words.
        speakers: how many are said to speak.
    """
    rate, heard, streams = recording.sample_rate, pipeline.sample_rate, pipeline.speakers
    if rate < heard:
        yield f"{rate} Hz, the model heard {heard} Hz: what lies above {rate / 2000:g} kHz is missing, expect errors"
    elif rate > heard:
        yield f"{rate} Hz, resampled to the model's {heard} Hz"
    silence, longest = summary.pauses(recording.duration)
    if summary.spans and (longest > LONG_PAUSE or silence > max(LONG_PAUSE, SHARE_OF_PAUSES * recording.duration)):
        yield (
            f"nobody speaks in {silence:.0f} of {recording.duration:.0f} s, up to {longest:.0f} s on end; the model "
            "was trained on speech without long pauses"
        )
    unsure = sum(join.by == "neither" for join in summary.joins)
    if speakers is not None and speakers > streams:
        yield f"{speakers} speakers expected, the model tells {streams} apart: several may share a stream"
    elif unsure >= UNSURE_JOINS and unsure >= SHARE_OF_JOINS * len(summary.joins):
        yield f"voices are told apart with difficulty; if more than {streams} people speak, several share a stream"
    words = summary.confidences
    if len(words) >= FEWEST_WORDS and sum(words) < CONFIDENT * len(words):
        yield f"few words were recognised with confidence; the model was trained on {trained_on}"
