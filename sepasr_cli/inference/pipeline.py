"""A recording in, one signal or one transcript a speaker out, whatever the file's rate, channels and length.

Letters: B batch, S speaker, M microphone, N sample. Recordings pass block by block; only transcripts are kept whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.device import Precision, pick_precision
from sepasr_cli.errors import SepasrError
from sepasr_cli.features import Features, FilterbankConfig, build_features
from sepasr_cli.inference.activity import Activity, Span
from sepasr_cli.inference.levels import explain
from sepasr_cli.inference.long_form import stitched
from sepasr_cli.inference.recording import Recording, open_recording
from sepasr_cli.inference.summary import Summary
from sepasr_cli.inference.voices import Voices
from sepasr_cli.joint import AnyRecognizer, JointModel
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.recognizer import Hypothesis, Recognizer
from sepasr_cli.saved_model import weights_fingerprint
from sepasr_cli.separation import ByMicrophones, MaskMVDR, Separator
from sepasr_cli.transcripts import Segment

#: Seconds separated at once, and shared by neighbouring windows of a longer recording.
WINDOW, OVERLAP = 20.0, 4.0
#: Seconds of the longest speech recognised at once.
LONGEST = 20.0
#: Seconds of the longest recording whose streams are recognised as they are.
LONGEST_WHOLE = 60.0
#: Windows that a GPU separates at once; a processor is as fast with one, in less memory.
BATCH = 8
#: Seconds of speech recognised in one batch, and kept until they are sorted into batches.
BATCH_SECONDS, QUEUE_SECONDS = 40.0, 120.0

#: What says where speech comes from.
Place = TypeVar("Place")


class Pipeline:
    """A separator, or a joint model that transcribes as well, for recordings of any rate and length.

    Args:
        model: the model, on the device that computes.
        decoding: how transcripts are searched for.
        window: seconds separated at once; longer recordings are cut.
        overlap: seconds that two windows share at least.
        batch: windows at once; by default as many as the device is best at.
        word_times: whether transcripts tell when each word was said.
        precision: of the separator and of what recognises, but for the search, which is always exact.
        language_model: what the search asks beside the recogniser, on the same device.
        whole: whether each stream is recognised from beginning to end as the separator gives it, no speech looked for.
        confidences: whether summaries tell how sure the recogniser is of each word, `word_times` or not.
    """

    def __init__(
        self,
        model: Separator | JointModel,
        decoding: DecodingConfig | None = None,
        window: float = WINDOW,
        overlap: float = OVERLAP,
        batch: int | None = None,
        word_times: bool = False,
        precision: Precision = "fp32",
        language_model: LanguageModel | None = None,
        whole: bool = False,
        confidences: bool = False,
    ) -> None:
        self.model = model.eval()
        self.separator: Separator = model.separator if isinstance(model, JointModel) else model
        self.recognizer: AnyRecognizer | None = model.recognizer if isinstance(model, JointModel) else None
        self.decoding = decoding or DecodingConfig()
        self.sample_rate = self.separator.config.sample_rate
        self.window, self.overlap = round(window * self.sample_rate), round(overlap * self.sample_rate)
        self.device = next(model.parameters()).device
        self.batch = batch or (1 if self.device.type == "cpu" else BATCH)
        self.word_times, self.language_model, self.whole = word_times, language_model, whole
        self._aligned = word_times or confidences
        self.precision = pick_precision(precision, self.device)

    @property
    def speakers(self) -> int:
        """How many signals the separator gives."""
        return self.separator.config.speakers

    @property
    def microphones(self) -> int:
        """How many microphones the separator was made for."""
        return self.separator.config.microphones

    @property
    def inexactness(self) -> dict[str, str]:
        """What a stage records of the precision: nothing where it is the exact one."""
        return {} if self.precision == "fp32" else {"precision": self.precision}

    def _computing(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the weights or the configuration."""
        return weights_fingerprint(self.model, *filter(None, [self.language_model]))

    def prepare(self, path: Path, channels: Sequence[int] | None = None) -> Recording:
        """A file made ready for the model: `open_recording`, which says what does not fit."""
        return open_recording(path, self.separator, channels)

    def separate(
        self,
        recording: Recording,
        summary: Summary | None = None,
        advance: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[Audio]:
        """One signal a speaker at the file's rate, in pieces (S, n) that follow each other.

        The signals' levels are such that their sum explains the reference microphone, peaks above 1 included.

        Args:
            recording: what `prepare` gave.
            summary: is filled in.
            advance: is told the seconds done since it was told last.

        Raises:
            SepasrError: where the model gives no finite signal.
        """
        passed = (signals for signals, _, _ in self._passing(recording, summary or Summary(), advance))
        left = recording.samples
        for piece in audio.resampled(passed, self.sample_rate, recording.sample_rate):
            yield piece[:, :left]
            left -= min(piece.shape[1], left)

    def transcribe(
        self,
        recording: Recording,
        session: str,
        speakers: int | None = None,
        summary: Summary | None = None,
        advance: Callable[[float], None] = lambda seconds: None,
    ) -> list[Segment]:
        """Who says what when: segments of speech, none where nobody speaks.

        Args:
            recording: what `prepare` gave.
            session: its name.
            speakers: how many there are at most; those who speak most are kept.
            summary: is filled in.
            advance: is told the seconds done since it was told last.

        Raises:
            SepasrError: where the model cannot transcribe, or gives no finite signal.
        """
        self._check_recognizes()
        summary = summary if summary is not None else Summary()
        if self.whole:
            return self._transcribe_whole(recording, session, speakers, summary)
        found: list[tuple[Span, Hypothesis]] = []
        queue: list[tuple[Span, Audio]] = []
        for span, speech in self._speech(recording, summary, advance):
            queue.append((span, speech))
            if sum(len(one) for _, one in queue) > QUEUE_SECONDS * self.sample_rate:
                found += self._recognise(queue)
                queue = []
        found += self._recognise(queue)
        summary.confidences += [one for _, said in found for one in said.word_confidences or ()]
        kept = summary.speakers(speakers)
        segments = [
            self._segment(session, span, said, summary.confidence(span.start))
            for span, said in found
            if span.stream in kept and said.text
        ]
        return _in_order(segments)

    def recognise(self, separated: Mapping[str, Audio]) -> dict[str, list[Segment]]:
        """Who says what when in signals that were separated before, which fit into memory, all in few batches.

        Args:
            separated: for each recording's name one signal a speaker at the model's rate, (S, N).

        Raises:
            SepasrError: where the model cannot transcribe.
        """
        self._check_recognizes()
        queue: list[tuple[tuple[str, Span], Audio]] = []
        for session, streams in separated.items():
            for span in self._spans(streams):
                queue.append(((session, span), streams[span.stream, span.first : span.last]))
        found: dict[str, list[Segment]] = {session: [] for session in separated}
        for (session, span), said in self._recognise(queue):
            if said.text:
                found[session].append(self._segment(session, span, said, None))
        return {session: _in_order(segments) for session, segments in found.items()}

    def _check_recognizes(self) -> None:
        if self.recognizer is None:
            raise SepasrError(f"a {self.model.kind} only separates; transcribing takes a run or a joint model")

    def _spans(self, streams: Audio) -> list[Span]:
        """The speech in whole streams (S, N), or each from its beginning to its end."""
        count, length = streams.shape
        if self.whole:
            return [Span(stream, 0, length, 0, length) for stream in range(count)]
        activity = Activity(count, self.sample_rate, LONGEST)
        return [*activity.push(streams), *activity.finish()]

    def _transcribe_whole(
        self, recording: Recording, session: str, speakers: int | None, summary: Summary
    ) -> list[Segment]:
        """What is said in each stream as the separator gives it, from beginning to end."""
        assert isinstance(self.model, JointModel)
        if recording.duration > LONGEST_WHOLE:
            raise SepasrError(
                f"{recording.path}: {recording.duration:.0f} s long; --whole is for recordings of up to "
                f"{LONGEST_WHOLE:g} s, leave it out"
            )
        mixture = np.concatenate(list(recording.blocks(self.sample_rate)), axis=1)
        heard = torch.from_numpy(mixture)[None].to(self.device)
        with self._computing():
            found, estimates = self.model.transcribe(
                heard, decoding=self.decoding, language_model=self.language_model, word_times=self._aligned
            )
        _check_finite(estimates)
        summary.begin(self.speakers, self.sample_rate)
        length = mixture.shape[1]
        spans = summary.note([Span(stream, 0, length, 0, length) for stream in range(self.speakers)])
        said = list(zip(spans, found[0], strict=True))[:speakers]
        summary.confidences += [one for _, hypothesis in said for one in hypothesis.word_confidences or ()]
        return [self._segment(session, span, hypothesis, None) for span, hypothesis in said if hypothesis.text]

    def _passing(
        self, recording: Recording, summary: Summary, advance: Callable[[float], None]
    ) -> Iterator[tuple[Audio, list[Span], int]]:
        """The speakers' signals at the model's rate, in pieces (S, n).

        With each piece come the spans of speech that are over, and the first sample that later spans may hold.
        """
        activity = Activity(self.speakers, self.sample_rate, LONGEST)
        voices = Voices(self._voice_features, self.sample_rate, self.device)
        blocks = recording.blocks(self.sample_rate)
        summary.begin(self.speakers, self.sample_rate)
        for piece in stitched(self._separate_windows, blocks, self.window, self.overlap, self.batch, voices):
            signals = piece.signals.numpy()
            summary.joins += [piece.join] if piece.join is not None else []
            yield signals, summary.note(activity.push(signals)), activity.needed
            advance(signals.shape[1] / self.sample_rate)
        spans = summary.note(activity.finish())
        yield np.zeros((self.speakers, 0), np.float32), spans, activity.needed

    def _speech(
        self, recording: Recording, summary: Summary, advance: Callable[[float], None]
    ) -> Iterator[tuple[Span, Audio]]:
        """Every span of speech with its audio (N,); of the signals no more is kept than may still be needed."""
        held, first = np.zeros((self.speakers, 0), np.float32), 0
        for signals, spans, needed in self._passing(recording, summary, advance):
            held = np.concatenate([held, signals], axis=1)
            for span in spans:
                yield span, held[span.stream, span.first - first : span.last - first].copy()
            held, first = held[:, needed - first :], needed

    def _recognise(self, queue: list[tuple[Place, Audio]]) -> Iterator[tuple[Place, Hypothesis]]:
        """What is said at each place, the longest first; speech of about one length shares a batch."""
        assert self.recognizer is not None
        queue = sorted(queue, key=lambda item: -len(item[1]))
        while queue:
            count = max(int(BATCH_SECONDS * self.sample_rate) // max(len(queue[0][1]), 1), 1)
            places, speech = zip(*queue[:count], strict=True)
            padded = pad_sequence([torch.from_numpy(one) for one in speech], batch_first=True).to(self.device)
            # To whole seconds: each new size of input would leave something behind in PyTorch's caches.
            padded = functional.pad(padded, (0, -padded.shape[1] % self.sample_rate))
            lengths = torch.tensor([len(one) for one in speech], device=self.device)
            with self._computing():
                said = self.recognizer.transcribe(padded, lengths, self.decoding, self.language_model, self._aligned)
            yield from zip(places, said, strict=True)
            queue = queue[count:]

    def _segment(self, session: str, span: Span, said: Hypothesis, confidence: float | None) -> Segment:
        """What was said in a span; words may begin and end a little outside of it."""
        offset, start, end = (at / self.sample_rate for at in (span.first, span.start, span.end))
        said = said if self.word_times else replace(said, word_times=None, word_confidences=None)
        times = said.word_times and tuple((round(offset + a, 3), round(offset + b, 3)) for a, b in said.word_times)
        return Segment(
            session_id=session,
            speaker=f"spk{span.stream + 1}",
            start_time=round(min(start, times[0][0] if times else start), 3),
            end_time=round(max(end, times[-1][1] if times else end), 3),
            words=said.text,
            word_times=times,
            word_confidences=said.word_confidences,
            join_confidence=confidence,
        )

    @cached_property
    def _voice_features(self) -> Features:
        """What tells voices apart: the features that the recogniser hears, where it is one of ours."""
        if isinstance(self.recognizer, Recognizer):
            return self.recognizer.features
        return build_features(FilterbankConfig(), self.sample_rate).to(self.device)

    @torch.inference_mode()
    def _separate_windows(self, mixture: Tensor) -> Tensor:
        """Windows (B, M, N) to (B, S, N) at levels that explain them, so that neighbours can be compared."""
        separator = self.separator
        if isinstance(separator, ByMicrophones):
            separator = separator.of(mixture.shape[1])
        options = {"aligned": True} if isinstance(separator, MaskMVDR) else {}
        with self._computing():
            estimates = separator(mixture.to(self.device), **options).float().cpu()
        _check_finite(estimates)
        at = self.separator.config.reference_microphone
        fitted = [
            explain(streams.numpy(), reference.numpy())
            for streams, reference in zip(estimates, mixture[:, at], strict=True)
        ]
        return torch.from_numpy(np.stack(fitted))


def _in_order(segments: list[Segment]) -> list[Segment]:
    return sorted(segments, key=lambda segment: (segment.start_time, segment.speaker))


def _check_finite(estimates: Tensor) -> None:
    if not torch.isfinite(estimates).all():
        raise SepasrError("the model gave NaN or infinite samples; its training went wrong, use other weights")
