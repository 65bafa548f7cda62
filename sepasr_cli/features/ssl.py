"""Features of a self-supervised speech model. Letters: B batch, N sample, T frame, D feature, L layer.

The layers of WavLM, HuBERT, wav2vec 2.0 (XLS-R, MMS), data2vec or their kin are mixed by learned weights, as in SUPERB
(arXiv 2105.01051), and brought to a smaller size by a linear layer (arXiv 2307.12231, section 2.3).
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
import torchaudio.functional
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.features import wavlm
from sepasr_cli.hub import quiet, unavailable
from sepasr_cli.settings import Settings

#: Added to the variance when the input is normalised, as transformers' feature extractor and s3prl do.
EPSILON = {"transformers": 1e-7, "s3prl": 1e-5}

#: Their names in transformers' config.json; XLS-R, MMS and the like are wav2vec2.
FAMILIES = ("wavlm", "hubert", "wav2vec2", "wav2vec2-conformer", "data2vec-audio", "unispeech", "unispeech-sat")

#: Those whose encoders have convolutions that no mask keeps from the padding.
SEES_PADDING = ("wav2vec2-conformer", "data2vec-audio")

#: What a folder of such a model holds, and what to do with its path.
FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
REMEDY = "give its path as recognition.features.name"


class SSLConfig(Settings):
    """A model of the Hugging Face hub, or of a local folder with `config.json` and `model.safetensors`."""

    kind: Literal["ssl"] = "ssl"
    name: str = Field("microsoft/wavlm-large", min_length=1, description="hub name, or local folder")
    revision: str | None = Field(None, description="hub branch, tag or commit; None: the default one")
    freeze: bool = True
    layers: Literal["all", "last", "convolutional"] | int | tuple[int, ...] = Field(
        "all",
        description="all: learned mix of all hidden layers; [-2, -1]: of these; last, or a number: that layer, 0 the "
        "input of the first, -1 the last; convolutional: what the convolutions give",
    )
    reduction: int | None = Field(80, gt=0, description="size of the linear layer's output; None: no linear layer")
    normalise: bool | None = Field(
        None, description="input to zero mean and unit variance; None: as the model's preprocessor_config.json says"
    )
    architecture: dict[str, Any] | None = Field(
        None, description="transformers' configuration of a model whose weights are saved with the recogniser's"
    )
    convention: Literal["transformers", "s3prl"] = Field(
        "transformers",
        description="s3prl: as models of ESPnet and SUPERB expect, the last frame is repeated until there is one for "
        "each stride of samples, and more is added to the input's variance",
    )


class SSLFeatures(nn.Module):
    """A self-supervised model as a feature extractor, differentiable with respect to the audio.

    A frozen model stays in evaluation mode and its weights never ask for gradients; the layer weights and the
    reduction learn in any case. The model itself is the attribute `model`.

    `source` is the model with what its preprocessor_config.json says, where it is not to be loaded.

    Raises:
        SepasrError: where the model cannot be had, is of another family, or has no such layer.
    """

    model: Any

    def __init__(
        self, config: SSLConfig, sample_rate: int, source: tuple[nn.Module, dict[str, Any]] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = sample_rate
        self.model, extractor = source or _load(config)
        #: The rate that the model was trained at, in Hz.
        self.model_rate = int(extractor.get("sampling_rate", 16000))
        # It would ask for gradients of its input, which is an error where that comes from a separator.
        self.model.feature_extractor._requires_grad = False
        by_layer = getattr(self.model.config, "feat_extract_norm", "layer") == "layer"
        # Group normalisation over time sees any padding too.
        self.takes_mask = by_layer and self.model.config.model_type not in SEES_PADDING
        self.normalise = config.normalise
        if self.normalise is None:
            self.normalise = bool(extractor.get("do_normalize", by_layer))
        self.shortest = _receptive_field(self.model.config.conv_kernel, self.model.config.conv_stride)

        #: Numbers of the hidden layers that are used; none where the convolutions' output is.
        self.layers = _chosen(config, self.model.config.num_hidden_layers + 1)
        mixes = config.layers == "all" or isinstance(config.layers, tuple)
        self.layer_weights = nn.Parameter(torch.zeros(len(self.layers))) if mixes else None
        hidden = self.model.config.hidden_size if self.layers else self.model.config.conv_dim[-1]
        self.size = config.reduction or hidden
        self.reduction = nn.Linear(hidden, config.reduction) if config.reduction else None
        if config.freeze:
            self.model.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but a frozen model, which keeps evaluating."""
        super().train(mode)
        if self.config.freeze:
            self.model.eval()
        return self

    def frame_times(self) -> tuple[float, float]:
        """The centre of the first frame and the distance of two, in seconds."""
        return (self.shortest - 1) / 2 / self.model_rate, math.prod(self.model.config.conv_stride) / self.model_rate

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) of audio (B, N) and their lengths (B,); what lies beyond a length is zero.

        Audio too short for one frame is continued by zeros to the model's receptive field.
        """
        audio, lengths = self._prepare(audio, lengths)
        frame_lengths = self.model._get_feat_extract_output_lengths(lengths).long()
        if self.takes_mask:
            features = self._mixed(audio, _inside(audio.shape[-1], lengths).long())
        else:
            features = self._one_length_at_a_time(audio, lengths, frame_lengths)
        if self.config.convention == "s3prl":
            last = frame_lengths[:, None] - 1
            frame_lengths = -(-lengths // math.prod(self.model.config.conv_stride))
            index = torch.arange(int(frame_lengths.max()), device=audio.device).minimum(last)
            features = features.gather(1, index[..., None].expand(-1, -1, features.shape[2]))
        if self.reduction is not None:
            features = self.reduction(features)
        return features * _inside(features.shape[1], frame_lengths)[..., None], frame_lengths

    def _prepare(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Audio at the model's rate, normalised over its own length, zero beyond it, long enough for a frame."""
        audio = audio * _inside(audio.shape[-1], lengths)
        if self.sample_rate != self.model_rate:
            audio = torchaudio.functional.resample(audio, self.sample_rate, self.model_rate)
            lengths = -(-lengths * self.model_rate // self.sample_rate)
        inside = _inside(audio.shape[-1], lengths)
        audio = audio * inside
        if self.normalise:
            count = lengths[:, None].clamp(min=1)
            centred = (audio - audio.sum(-1, keepdim=True) / count) * inside
            audio = centred / (centred.square().sum(-1, keepdim=True) / count + EPSILON[self.config.convention]).sqrt()
        audio = nn.functional.pad(audio, (0, max(0, self.shortest - audio.shape[-1])))
        return audio, lengths.clamp(min=self.shortest)

    def _mixed(self, audio: Tensor, mask: Tensor | None) -> Tensor:
        """The chosen layer, or the weighted sum of several, (B, T, D)."""
        if not self.layers:
            if wavlm.applies(self.model):
                return wavlm.convolved(self.model.feature_extractor, audio).float()
            return self.model.feature_extractor(audio).transpose(1, 2)
        shares = self.layer_weights.softmax(-1) if self.layer_weights is not None else audio.new_ones(1)
        total: Tensor | None = None
        for number, hidden in enumerate(self._hidden(audio, mask)):
            for share in (share for share, layer in zip(shares, self.layers, strict=True) if layer == number):
                total = share * hidden if total is None else total + share * hidden
            if number == max(self.layers):  # those after it need not be computed
                break
        assert total is not None
        return total

    def _hidden(self, audio: Tensor, mask: Tensor | None) -> Iterable[Tensor]:
        """The input of the first layer and what each of them gives, (B, T, D)."""
        if wavlm.applies(self.model):
            return wavlm.hidden_layers(self.model, audio, mask)
        output = self.model(audio, attention_mask=mask, output_hidden_states=True)
        # Where a last normalisation follows the layers, hidden_states may end before it; the last layer is after it.
        return [*output.hidden_states[:-1], output.last_hidden_state]

    def _one_length_at_a_time(self, audio: Tensor, lengths: Tensor, frame_lengths: Tensor) -> Tensor:
        """Examples of one length together, unpadded: padding would change the normalisation over time."""
        found: list[Tensor] = [audio] * len(audio)
        longest = int(frame_lengths.max())
        for length in lengths.unique().tolist():
            chosen = (lengths == length).nonzero().flatten()
            mixed = self._mixed(audio[chosen, :length], None)
            mixed = nn.functional.pad(mixed, (0, 0, 0, longest - mixed.shape[1]))
            for place, features in zip(chosen.tolist(), mixed, strict=True):
                found[place] = features
        return torch.stack(found)


def _inside(size: int, lengths: Tensor) -> Tensor:
    """True where a place 0..size-1 lies before the length, (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _receptive_field(kernels: list[int], strides: list[int]) -> int:
    """Samples that one frame sees.

    >>> _receptive_field([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
    400
    """
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _chosen(config: SSLConfig, count: int) -> tuple[int, ...]:
    """The numbers of the hidden layers of a model that has `count` of them, counted from 0."""
    if config.layers in ("all", "convolutional"):
        return tuple(range(count)) if config.layers == "all" else ()
    asked = config.layers if isinstance(config.layers, tuple) else (-1 if config.layers == "last" else config.layers,)
    numbers = [int(layer) for layer in asked]
    if not numbers or any(not -count <= number < count for number in numbers):
        wrong = next((number for number in numbers if not -count <= number < count), "none")
        raise SepasrError(
            f"features: layer {wrong} of '{config.name}' asked for, it has layers 0 to {count - 1}; change "
            "recognition.features.layers"
        )
    return tuple(number % count for number in numbers)


def _load(config: SSLConfig) -> tuple[Any, dict[str, Any]]:
    """The model, and what its preprocessor_config.json says (nothing where there is none)."""
    from transformers import AutoConfig, AutoModel
    from transformers.utils import cached_file

    quiet()
    if config.architecture is not None:
        return AutoModel.from_config(AutoConfig.for_model(**config.architecture)).float(), {}
    where = {"revision": config.revision} if config.revision else {}
    try:
        settings = AutoConfig.from_pretrained(config.name, trust_remote_code=False, **where)
        if settings.model_type not in FAMILIES:
            raise SepasrError(
                f"features: '{config.name}' is a model of type '{settings.model_type}'; expected one of "
                f"{', '.join(FAMILIES)}"
            )
        # No layer is dropped and nothing is masked: the mixing weights stand for all layers, at all times.
        settings.layerdrop, settings.apply_spec_augment, settings.add_adapter = 0.0, False, False
        model, report = AutoModel.from_pretrained(
            config.name,
            config=settings,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **where,
        )
        found = cached_file(
            config.name,
            "preprocessor_config.json",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **where,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise SepasrError(f"features: {unavailable(config.name, FILES, REMEDY, error)}") from error
    # The embedding of masked frames serves pre-training alone, and some checkpoints lack it.
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise SepasrError(f"features: '{config.name}': lacks {len(missing)} weights ({missing[0]} first); get it again")
    return model.float(), json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
