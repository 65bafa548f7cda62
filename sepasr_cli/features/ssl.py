"""Features of a self-supervised speech model. Letters: B batch, N sample, T frame, D feature, L layer.

The layers of WavLM, HuBERT or wav2vec 2.0 are mixed by learned weights, as in SUPERB (arXiv 2105.01051), and
brought to a smaller size by a linear layer (arXiv 2307.12231, section 2.3).
"""

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import torchaudio.functional
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.settings import Settings

#: Added to the variance when the input is normalised, as transformers' feature extractor does.
EPSILON = 1e-7


class SSLConfig(Settings):
    """A model of the Hugging Face hub, or of a local folder with `config.json` and `model.safetensors`."""

    kind: Literal["ssl"] = "ssl"
    name: str = Field("microsoft/wavlm-large", min_length=1, description="hub name, or local folder")
    revision: str | None = Field(None, description="hub branch, tag or commit; None: the default one")
    freeze: bool = True
    layers: Literal["all", "last"] | int = Field(
        "all", description="all: weighted sum of all hidden layers; 0: the input of the first"
    )
    reduction: int | None = Field(80, gt=0, description="size of the linear layer's output; None: no linear layer")
    normalise: bool | None = Field(
        None, description="input to zero mean and unit variance; None: as the model's preprocessor_config.json says"
    )


class SSLFeatures(nn.Module):
    """A self-supervised model as a feature extractor, differentiable with respect to the audio.

    A frozen model stays in evaluation mode and its weights never ask for gradients; the layer weights and the
    reduction learn in any case. The model itself is the attribute `model`.

    Raises:
        SepasrError: where the model cannot be had, is of another family, or has no such layer.
    """

    def __init__(self, config: SSLConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = sample_rate
        self.model, extractor = _load(config)
        #: The rate that the model was trained at, in Hz.
        self.model_rate = int(extractor.get("sampling_rate", 16000))
        # Models with group normalisation over time take neither padding nor a mask.
        self.takes_mask = self.model.config.feat_extract_norm == "layer"
        self.normalise = config.normalise
        if self.normalise is None:
            self.normalise = bool(extractor.get("do_normalize", self.takes_mask))
        self.shortest = _receptive_field(self.model.config.conv_kernel, self.model.config.conv_stride)

        count = self.model.config.num_hidden_layers + 1
        if isinstance(config.layers, int) and not 0 <= config.layers < count:
            raise SepasrError(
                f"features: layer {config.layers} of '{config.name}' asked for, it has layers 0 to {count - 1}"
            )
        self.layer_weights = nn.Parameter(torch.zeros(count)) if config.layers == "all" else None
        hidden = self.model.config.hidden_size
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
            audio = centred / (centred.square().sum(-1, keepdim=True) / count + EPSILON).sqrt()
        audio = nn.functional.pad(audio, (0, max(0, self.shortest - audio.shape[-1])))
        return audio, lengths.clamp(min=self.shortest)

    def _mixed(self, audio: Tensor, mask: Tensor | None) -> Tensor:
        """The chosen layer, or the weighted sum of all, (B, T, D)."""
        output = self.model(audio, attention_mask=mask, output_hidden_states=True)
        # Where a last normalisation follows the layers, hidden_states may end before it; the last layer is after it.
        layers = [*output.hidden_states[:-1], output.last_hidden_state]
        if self.layer_weights is None:
            return layers[-1 if self.config.layers == "last" else int(self.config.layers)]
        weights = self.layer_weights.softmax(-1)
        total = weights[0] * layers[0]
        for weight, layer in zip(weights[1:], layers[1:], strict=True):
            total = total + weight * layer
        return total

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


def _load(config: SSLConfig) -> tuple[Any, dict[str, Any]]:
    """The model, and what its preprocessor_config.json says (nothing where there is none)."""
    from transformers import AutoConfig, AutoModel
    from transformers.utils import cached_file, logging

    logging.disable_progress_bar()
    # WavLM gives PyTorch masks of two types; the result is right.
    warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
    where = {"revision": config.revision} if config.revision else {}
    is_local = Path(config.name).is_dir()
    remedy = "name a WavLM, HuBERT or wav2vec 2.0 model, or a local folder with config.json and model.safetensors"
    try:
        settings = AutoConfig.from_pretrained(config.name, trust_remote_code=False, **where)
        if not hasattr(settings, "feat_extract_norm"):
            raise SepasrError(f"features: '{config.name}' is a model of type '{settings.model_type}'; {remedy}")
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
        reason = (
            "the folder does not hold such a model" if is_local else "no such folder, and the hub gave no such model"
        )
        first = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise SepasrError(f"features: '{config.name}': {reason} ({first}); {remedy}") from error
    # The embedding of masked frames serves pre-training alone, and some checkpoints lack it.
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise SepasrError(f"features: '{config.name}': lacks {len(missing)} weights ({missing[0]} first); {remedy}")
    return model.float(), json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
