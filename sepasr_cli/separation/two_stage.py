"""Two TF-GridNets: what the second hears is the mixture, and what a spatial model makes of the first one's estimates.

Z.-Q. Wang et al., "TF-GridNet: Integrating Full- and Sub-Band Modeling for Speech Separation" (arXiv 2211.12433), where
a second network follows the first and its filters; here a spatial model that the first guides stands between them
(`spatial_em`), one pass serves all speakers, and the second corrects what it hears. The first stays as it was trained.

A network leans on some of its microphones more than on others, and fails where just these hear two speakers alike.
Where the spatial model is in doubt, and there are three microphones or more, the first hears them in another order too.

Letters: B batch, S speaker, M microphone, N sample, G guide.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sepasr_cli.saved_model import SavedModel
from sepasr_cli.separation.microphones import check_microphones
from sepasr_cli.separation.spatial_em import Refined, refined
from sepasr_cli.separation.stft import Stft, deviation
from sepasr_cli.separation.tfgridnet import TFGridNet, TFGridNetConfig
from sepasr_cli.settings import Settings

#: Entropy in nats above which the spatial model is in doubt.
DOUBTFUL = 0.28
#: Signals of each speaker that the second network hears beside the mixture (`refined`).
VIEWS = 3


class TwoStageConfig(TFGridNetConfig):
    """The sizes of both networks; the second's may be larger."""

    kind: Literal["two_stage"] = "two_stage"  # type: ignore[assignment]
    #: Blocks and LSTM units of the second network; None: as many as the first has.
    second_blocks: int | None = Field(default=None, gt=0)
    second_lstm: int | None = Field(default=None, gt=0)

    @property
    def first(self) -> TFGridNetConfig:
        """Of the network that hears the microphones alone."""
        shared = TFGridNetConfig.model_fields.keys() - {"kind"}
        return TFGridNetConfig(**self.model_dump(include=shared) | {"beamform": False})

    @property
    def second(self) -> TFGridNetConfig:
        """Of the network that hears the views of each speaker too."""
        changes = {
            "blocks": self.second_blocks or self.blocks,
            "lstm": self.second_lstm or self.lstm,
            "microphones": self.microphones + VIEWS * self.speakers,
            "fewer_microphones": False,
        }
        return TFGridNetConfig(**self.first.model_dump() | changes)


class TwoStage(SavedModel[TwoStageConfig]):
    """Mixtures in, one waveform per speaker out."""

    kind: ClassVar[str] = "two_stage"
    usage: ClassVar[str] = "separate INPUT --model FOLDER"
    Config: ClassVar[type[Settings]] = TwoStageConfig

    def __init__(self, config: TwoStageConfig) -> None:
        super().__init__(config)
        self.stft = Stft(config.fft_size, config.hop)
        self.first = TFGridNet(config.first).requires_grad_(False)
        self.second = TFGridNet(config.second)

    @classmethod
    def following(cls, first: TFGridNet, config: TwoStageConfig) -> "TwoStage":
        """A second network after one that was trained: it begins as its copy, deaf to the guides, and corrects nothing.

        The first must be of the configured sizes.
        """
        model = cls(config)
        model.first.load_state_dict(first.state_dict())
        model.second.begin_as(first)
        for parameter in model.second.decode.parameters():
            nn.init.zeros_(parameter)
        return model

    def begin_as(self, trained: "TwoStage") -> None:
        """Take the weights of one whose second network is of the same sizes or smaller (`TFGridNet.begin_as`)."""
        self.first.load_state_dict(trained.first.state_dict())
        self.second.begin_as(trained.second)

    @property
    def takes(self) -> range:
        """The numbers of microphones that are taken."""
        return self.first.takes

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Separate mixtures (B, M, N), with `lengths` (B,) where they differ, into (B, S, N); as TF-GridNet does.

        Raises:
            SepasrError: where the mixture has not the microphones that the model was made for.
        """
        check_microphones(mixture.shape[1], self.takes)
        with torch.no_grad():
            mixture = functional.pad(mixture.float(), (0, 0, 0, self.config.microphones - mixture.shape[1]))
            mixture, views = self._surest(mixture, lengths)
        return views.mean(1) + self.second(torch.cat([mixture, views.flatten(1, 2)], dim=1), lengths)

    def _surest(self, mixture: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mixtures (B, M, N) in the order of microphones that leaves less doubt, and their views (B, 3, S, N)."""
        views, doubt = self._views(mixture, lengths)
        unsure = (doubt > DOUBTFUL) & (mixture.any(2).sum(1) > 2)
        if not unsure.any():
            return mixture, views
        other = turned(mixture[unsure], self.config.reference_microphone)
        found = self._views(other, None if lengths is None else lengths[unsure])
        surer = found.doubt < doubt[unsure]
        places = unsure.nonzero()[surer, 0]
        return mixture.index_copy(0, places, other[surer]), views.index_copy(0, places, found.views[surer])

    def _views(self, mixture: Tensor, lengths: Tensor | None) -> Refined:
        """What the spatial model makes of the first network's estimates of mixtures (B, M, N), as signals."""
        estimates = self.first(mixture, lengths)
        with torch.autocast(mixture.device.type, enabled=False):
            level = deviation(mixture, lengths)
            signals = (estimates.float(), mixture[:, self.first.order])
            views, doubt = refined(*(self.stft.analyse(one / level, lengths) for one in signals))
            return Refined(self.stft.synthesise(views, mixture.shape[2], lengths) * level[:, None], doubt)


def turned(mixture: Tensor, reference: int) -> Tensor:
    """Mixtures (B, M, N) with the microphones that hear anything, but for the reference, the other way round."""
    order = torch.arange(mixture.shape[1], device=mixture.device).repeat(len(mixture), 1)
    for places, heard in zip(order, mixture.any(2), strict=True):
        heard[reference] = False
        places[heard] = places[heard].flip(0)
    return mixture.gather(1, order[:, :, None].expand_as(mixture))
