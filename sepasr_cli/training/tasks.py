"""What each training minimises: a model, a batch, and the loss of each of its examples.

Letters: B batch, S speaker, N sample.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn
from typing_extensions import Self

from sepasr_cli.corpora.text import TextRule
from sepasr_cli.joint import JointModel
from sepasr_cli.manifest import Reference
from sepasr_cli.recognition.beam_search import greedy
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.separation import ByMicrophones, Separator
from sepasr_cli.separation.losses import mask_loss, separation_loss, si_sdr
from sepasr_cli.separation.mask_mvdr import MaskMVDR
from sepasr_cli.separation.stft import deviation
from sepasr_cli.training.loop import LoopConfig, StepResult
from sepasr_cli.training.mixtures import MixtureBatch
from sepasr_cli.training.speech import SpeechBatch, SpeechKind
from sepasr_cli.training.text import TextBatch

#: A factor on the speed of speech, in hundredths.
Speed = Annotated[float, Field(ge=0.5, le=2)]
#: How many microphones are heard.
Count = Annotated[int, Field(gt=0)]


class _MixtureTraining(LoopConfig):
    reference: Reference = Field("early", description="what the separator is to give")
    dynamic_mixing: bool = Field(
        False, description="mix new examples while training, in the rooms of the response bank"
    )
    speeds: tuple[Speed, ...] = Field((1.0,), min_length=1, description="factors drawn for each utterance mixed")
    microphone_counts: tuple[Count, ...] = Field(
        (), description="how many microphones are heard, drawn for each example, the reference among them; empty: all"
    )
    dev_mixtures: int | None = Field(None, gt=0, description="validate on the first so many only")


class PretrainSepConfig(_MixtureTraining):
    """Training of the separator alone."""

    loss: Literal["l1", "si_sdr", "mask"] = "l1"
    segment_seconds: float | None = Field(2.0, gt=0, description="None: whole mixtures")
    initial: str | None = Field(
        None,
        description="a separator to start from, of these sizes or smaller: a run, a folder or a hub name; null: none",
    )
    weight_decay: float = Field(1e-5, ge=0)
    plateau_patience: int | None = Field(1, ge=0)


class PretrainAsrConfig(LoopConfig):
    """Training of the recogniser on single-speaker speech."""

    speech: tuple[SpeechKind, ...] = Field(
        ("corpus",),
        min_length=1,
        description="the corpus; of the simulated mixtures, reference signals and what a separator makes of them",
    )
    separator: str | None = Field(
        None, description="that makes separated speech: a run, a folder or a hub name; null: that of pretrain-sep"
    )
    microphone_counts: tuple[Count, ...] = Field(
        (), description="how many microphones it hears, in turns, the reference among them; empty: all"
    )
    initial: str | None = Field(
        None, description="a recogniser of the same sizes to start from: a run, a folder or a hub name; null: none"
    )
    speeds: tuple[Speed, ...] = Field((0.9, 1.0, 1.1), min_length=1)
    splice: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the corpus's utterances, and of separated ones, "
        "replaced by others of their speaker's words",
    )
    splice_from: int = Field(1000, gt=0, description="step from which on: the recogniser then finds the words")
    batch_size: int = Field(32, gt=0)
    warmup_steps: int = Field(20000, ge=0)
    decay: Literal["constant", "inverse_sqrt", "cosine"] = "inverse_sqrt"


class PretrainLmConfig(LoopConfig):
    """Training of the language model on text."""

    transcripts: bool = Field(True, description="learn from the transcripts that the recogniser learns from")
    text: tuple[Path, ...] = Field((), description="text files to learn from, a sentence a line")
    dev_text: tuple[Path, ...] = Field((), description="text files to validate on, beside the dev transcripts")
    rule: TextRule = Field("upper", description="that brings the files to the form of the transcripts")
    max_tokens: int = Field(500, gt=0, description="longer lines are cut into parts")
    batch_size: int = Field(64, gt=0)
    warmup_steps: int = Field(5000, ge=0)
    decay: Literal["constant", "inverse_sqrt", "cosine"] = "inverse_sqrt"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.transcripts or self.text):
            raise ValueError("nothing to learn from; name files in text, or set transcripts: true")
        return self


class JointFinetuneConfig(_MixtureTraining):
    """Training of both, from their pre-trained weights."""

    order: Literal["ctc", "separation"] = Field("ctc", description="what matches speakers with transcripts")
    separation_weight: float = Field(0.0, ge=0, description="of the separation loss, added to the recognition loss")
    separation_loss: Literal["l1", "si_sdr"] = "l1"
    speech_margin: float | None = Field(
        None,
        ge=0,
        description="seconds heard before and after what each speaker says, as in use, where streams are cut to the "
        "speech in them; null: the recogniser hears whole mixtures",
    )
    clean_weight: float = Field(
        0.0, ge=0, description="of the recognition loss on the references, added: clean speech is heard as well"
    )
    pretrained_weight: float = Field(
        0.0, ge=0, description="of half the squared distance of the weights to the pre-trained ones, added to the loss"
    )
    splice: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the utterances mixed anew that are replaced by others of their speaker's words, which "
        "pretrain-asr found",
    )
    beamform: bool = Field(False, description="set `separation.beamform` of a TF-GridNet from here on")
    separator: str | None = Field(
        None, description="the separator to fine-tune: a run, a folder or a hub name; null: that of pretrain-sep"
    )
    one_microphone: str | None = Field(
        None, description="a separator for one microphone, to go beside it: a run, a folder or a hub name"
    )
    train: Literal["both", "separator", "recognizer"] = "both"
    recognizer: str | None = Field(
        None, description="a CTC model of transformers, by hub name or local folder; null: that of pretrain-asr"
    )
    batch_size: int = Field(2, gt=0)
    accumulation: int = Field(4, gt=0)
    optimizer: Literal["adam", "adamw", "sgd"] = "sgd"
    max_steps: int = Field(220000, gt=0)
    validate_every: int = Field(20000, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.speech_margin is not None and self.order == "ctc":
            raise ValueError("speech_margin needs order: separation, for a stream is cut to where its reference speaks")
        if self.splice and not self.dynamic_mixing:
            raise ValueError("splice needs dynamic_mixing: true, for mixtures on disk have their words already")
        return self


class SeparationTask(nn.Module):
    """Separation with permutation-invariant training."""

    criterion = "si_sdr_improvement"

    def __init__(self, model: Separator, config: PretrainSepConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: MixtureBatch) -> StepResult:
        """The loss of each mixture; in validation also its SI-SDR and what it improves, in dB."""
        if self.config.loss == "mask":
            loss = self._mask_loss(batch)
            if self.training:
                return StepResult(loss)
            estimates = self.model(batch.mixture, batch.lengths)
            order = separation_loss(estimates, batch.references, batch.lengths, "si_sdr").order
        else:
            estimates = self.model(batch.mixture, batch.lengths)
            level = deviation(batch.mixture, batch.lengths)
            result = separation_loss(estimates, batch.references, batch.lengths, self.config.loss, level)
            loss, order = result.loss, result.order
        return StepResult(loss, separation_quality(estimates, order, batch, self.model.config.reference_microphone))

    def _mask_loss(self, batch: MixtureBatch) -> Tensor:
        model = self.model
        assert isinstance(model, MaskMVDR)
        at = model.config.reference_microphone
        mixture, references, noise = (
            model.stft.analyse(signal, batch.lengths)
            for signal in (batch.mixture[:, at], batch.references, batch.noise)
        )
        masks = model.masks(batch.mixture, batch.lengths)
        return mask_loss(masks, mixture, references, noise, model.stft.frames(batch.lengths)).loss


@torch.no_grad()
def separation_quality(estimates: Tensor, order: Tensor, batch: MixtureBatch, microphone: int) -> dict[str, Tensor]:
    """Mean SI-SDR over the speakers of each example, and its gain over the mixture, each (B,) in dB."""
    rows = torch.arange(len(estimates), device=estimates.device)[:, None]
    after = si_sdr(estimates[rows, order], batch.references, batch.lengths).mean(1)
    mixture = batch.mixture[:, microphone, None].expand_as(batch.references)
    before = si_sdr(mixture, batch.references, batch.lengths).mean(1)
    return {"si_sdr": after, "si_sdr_improvement": after - before}


class RecognitionTask(nn.Module):
    """Joint CTC/attention training."""

    criterion = "greedy_accuracy"

    def __init__(self, model: Recognizer) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: SpeechBatch) -> StepResult:
        """The loss of each utterance; in validation also the accuracy of the tokens that CTC finds greedily."""
        encoded, frames = self.model.encode(batch.audio, batch.lengths)
        loss = self.model.loss(encoded, frames, batch.targets, batch.target_lengths)
        metrics = {"ctc": loss.ctc, "attention": loss.attention, "attention_accuracy": loss.accuracy}
        if not self.training:
            metrics["greedy_accuracy"] = _greedy_accuracy(self.model, encoded, frames, batch.targets)
        return StepResult(loss.total, metrics)


@torch.no_grad()
def _greedy_accuracy(model: Recognizer, encoded: Tensor, frames: Tensor, targets: Tensor) -> Tensor:
    log_probs = model.ctc_log_probs(encoded)
    found = [greedy(example[:length])[0] for example, length in zip(log_probs, frames.tolist(), strict=True)]
    wanted = [[token for token in row if token >= 0] for row in targets.tolist()]
    errors = [Levenshtein.distance(one, two) / max(len(two), 1) for one, two in zip(found, wanted, strict=True)]
    return 1 - torch.tensor(errors, device=encoded.device)


class LanguageModelTask(nn.Module):
    """Prediction of each token from those before it."""

    criterion = "log_probability"

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TextBatch) -> StepResult:
        """Each sentence's share of the batch's loss a token, so that long sentences count for what they hold."""
        nats, tokens = self.model(batch.targets, batch.target_lengths), batch.target_lengths + 1.0
        return StepResult(nats / tokens.mean(), {"log_probability": -nats, "tokens": tokens})

    @staticmethod
    def derived(means: Mapping[str, float]) -> dict[str, float]:
        """Perplexity a token, of the means over sentences."""
        return {"perplexity": math.exp(min(-means["log_probability"] / means["tokens"], 700.0))}


def cut_to_speech(signals: Tensor, references: Tensor, lengths: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Cut signals to where their references speak.

    Args:
        signals: (B, S, N).
        references: silent (zero) where their speakers are, (B, S, N).
        lengths: of the mixtures in samples, (B,).
        margin: samples to keep before the first and after the last sound.

    Returns:
        The signals (B, S, N') with zeros at their ends, and their lengths (B, S); of a reference that never speaks
        all is kept.
    """
    size, ends = references.shape[2], lengths[:, None]
    spoken = references != 0
    silent = ~spoken.any(2)
    start = (spoken.byte().argmax(2) - margin).clamp(min=0).masked_fill(silent, 0)
    stop = (size - spoken.flip(2).byte().argmax(2) + margin).minimum(ends).where(~silent, ends)
    steps = torch.arange(int((stop - start).max()), device=references.device)
    places = (start[..., None] + steps).clamp(max=size - 1)
    inside = steps < (stop - start)[..., None]
    return signals.gather(2, places) * inside, stop - start


class JointTask(nn.Module):
    """Recognition of separated speech, down to the separator's weights.

    Validation hears the references as well, before the first step too: fine-tuning may cost clean speech something.
    """

    criterion = "greedy_accuracy"
    begins_trained = True

    def __init__(self, model: JointModel, config: JointFinetuneConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        #: Not every batch goes through every weight: those of one microphone, or of several.
        self.branches = isinstance(model.separator, ByMicrophones)
        for name, part in (("separator", model.separator), ("recognizer", model.recognizer)):
            if config.train not in ("both", name):
                part.requires_grad_(False)
        if config.pretrained_weight > 0:
            for number, weight in enumerate(self._trained()):
                self.register_buffer(f"pretrained_{number}", weight.detach().clone(), persistent=False)

    def _trained(self) -> list[nn.Parameter]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def _distance(self) -> Tensor:
        """Half the squared distance to the pre-trained weights (L2-SP; Li, Grandvalet, Davoine 2018, equation 2)."""
        pairs = ((weight, self.get_buffer(f"pretrained_{number}")) for number, weight in enumerate(self._trained()))
        return 0.5 * torch.stack([(weight - before).square().sum() for weight, before in pairs]).sum()

    def train(self, mode: bool = True) -> "JointTask":
        """A part that is not trained stays as it is when used: no dropout, no new statistics."""
        super().train(mode)
        if self.config.train == "separator":
            self.model.recognizer.eval()
        elif self.config.train == "recognizer":
            self.model.separator.eval()
        return self

    def _heard(self, signals: Tensor, which: Tensor, batch: MixtureBatch) -> tuple[Tensor, Tensor]:
        """What the recogniser hears of signals (B, S, N) of the references `which` (B, S), and the lengths (B, S)."""
        if self.config.speech_margin is None:
            return signals, batch.lengths[:, None].expand_as(which)
        rows = torch.arange(len(which), device=which.device)[:, None]
        margin = round(self.config.speech_margin * self.model.separator.config.sample_rate)
        return cut_to_speech(signals, batch.references[rows, which], batch.lengths, margin)

    def forward(self, batch: MixtureBatch) -> StepResult:
        """The loss of each mixture, the mean over its speakers, with what became of the separation."""
        assert batch.targets is not None and batch.target_lengths is not None
        config, speakers = self.config, batch.references.shape[1]
        estimates = self.model.separator(batch.mixture, batch.lengths)
        level = deviation(batch.mixture, batch.lengths)
        separated = separation_loss(estimates, batch.references, batch.lengths, config.separation_loss, level)
        streams, lengths = self._heard(estimates, separated.order.argsort(1), batch)
        result = self.model(
            batch.mixture,
            lengths,
            batch.targets,
            batch.target_lengths,
            order="ctc" if config.order == "ctc" else separated.order,
            estimates=streams,
        )
        per_mixture = {
            name: getattr(result.recognition, name).view(-1, speakers).mean(1)
            for name in ("total", "ctc", "attention", "accuracy")
        }
        loss = per_mixture.pop("total")
        if config.clean_weight > 0 or not self.training:
            recognizer, targets = self.model.trainable_recognizer, batch.targets.flatten(0, 1)
            own = torch.arange(speakers, device=estimates.device).expand(len(estimates), -1)
            streams, lengths = self._heard(batch.references, own, batch)
            clean = recognizer.encode(streams.flatten(0, 1), lengths.flatten())
        if config.clean_weight > 0:
            of_clean = recognizer.loss(*clean, targets, batch.target_lengths.flatten()).total
            loss = loss + config.clean_weight * of_clean.view(-1, speakers).mean(1)
        if config.separation_weight > 0:
            loss = loss + config.separation_weight * separated.loss
        if config.pretrained_weight > 0:
            loss = loss + config.pretrained_weight * self._distance()
        metrics = {"ctc": per_mixture["ctc"], "attention_accuracy": per_mixture["accuracy"]}
        microphone = self.model.separator.config.reference_microphone
        metrics |= separation_quality(estimates, separated.order, batch, microphone)
        if not self.training:
            accuracy = _greedy_accuracy(recognizer, result.encoded, result.frames, targets)
            metrics["greedy_accuracy"] = accuracy.view(-1, speakers).mean(1)
            metrics["clean_accuracy"] = _greedy_accuracy(recognizer, *clean, targets).view(-1, speakers).mean(1)
        return StepResult(loss, metrics)
