"""Two TF-GridNets: what the second hears is the mixture, the first one's estimates and the filters that these steer.

Z.-Q. Wang et al., "TF-GridNet: Integrating Full- and Sub-Band Modeling for Speech Separation" (arXiv 2211.12433), where
a second network follows the first and its filters; here one pass of it serves all speakers, and it corrects what the
first gives. The first network stays as it was trained.

Letters: B batch, S speaker, M microphone, N sample, G guide.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sepasr_cli.saved_model import SavedModel
from sepasr_cli.separation.tfgridnet import TFGridNet, TFGridNetConfig, averaged
from sepasr_cli.settings import Settings


class TwoStageConfig(TFGridNetConfig):
    """The sizes of each of the two networks. Filters always follow the first."""

    kind: Literal["two_stage"] = "two_stage"  # type: ignore[assignment]


class TwoStage(SavedModel[TwoStageConfig]):
    """Mixtures in, one waveform per speaker out."""

    kind: ClassVar[str] = "two_stage"
    usage: ClassVar[str] = "separate INPUT --model FOLDER"
    Config: ClassVar[type[Settings]] = TwoStageConfig

    def __init__(self, config: TwoStageConfig) -> None:
        super().__init__(config)
        sizes = config.model_dump(exclude={"kind"})
        self.first = TFGridNet(TFGridNetConfig(**sizes | {"beamform": True})).requires_grad_(False)
        #: Signals beside the mixture that the second hears: of each speaker the estimate, MVDR's and Wiener's.
        self.guides = 3 * config.speakers
        second = {"microphones": config.microphones + self.guides, "fewer_microphones": False, "beamform": False}
        self.second = TFGridNet(TFGridNetConfig(**sizes | second))

    @classmethod
    def following(cls, first: TFGridNet, config: TwoStageConfig) -> "TwoStage":
        """A second network after one that was trained: it begins as its copy, deaf to the guides, and corrects nothing.

        The two must be of the same sizes.
        """
        model = cls(config)
        model.first.load_state_dict(first.state_dict())
        second, weight = model.second, first.encode.weight
        second.blocks.load_state_dict(first.blocks.state_dict())
        second.encode_norm.load_state_dict(first.encode_norm.state_dict())
        with torch.no_grad():
            # Real parts come first, then imaginary parts.
            heard = torch.cat([functional.pad(part, (0, 0, 0, 0, 0, model.guides)) for part in weight.chunk(2, 1)], 1)
            second.encode.weight.copy_(heard)
            assert first.encode.bias is not None and second.encode.bias is not None
            second.encode.bias.copy_(first.encode.bias)
        for parameter in second.decode.parameters():
            nn.init.zeros_(parameter)
        return model

    @property
    def takes(self) -> range:
        """The numbers of microphones that are taken."""
        return self.first.takes

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Separate mixtures (B, M, N), with `lengths` (B,) where they differ, into (B, S, N); as TF-GridNet does.

        Raises:
            SepasrError: where the mixture has not the microphones that the model was made for.
        """
        with torch.no_grad():
            parts = self.first.with_filters(mixture, lengths)
        missing = self.config.microphones - mixture.shape[1]
        heard = torch.cat([functional.pad(mixture.float(), (0, 0, 0, missing)), parts.flatten(1, 2)], dim=1)
        return averaged(*parts.unbind(1)) + self.second(heard, lengths)
