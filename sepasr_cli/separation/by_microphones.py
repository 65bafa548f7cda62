"""Two separators as one: weights of their own for one microphone, which hears no directions, and for several.

Letters: B batch, S speaker, M microphone, N sample.
"""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from sepasr_cli.saved_model import SavedModel
from sepasr_cli.separation.mask_mvdr import MaskMVDR, MaskMVDRConfig
from sepasr_cli.separation.tfgridnet import TFGridNet, TFGridNetConfig
from sepasr_cli.separation.two_stage import TwoStage, TwoStageConfig
from sepasr_cli.settings import Settings, validate

Network: TypeAlias = TFGridNet | TwoStage | MaskMVDR
NetworkConfig: TypeAlias = TFGridNetConfig | TwoStageConfig | MaskMVDRConfig
SeparatorConfig: TypeAlias = Annotated[NetworkConfig, Field(discriminator="kind")]
NETWORKS: dict[str, type[Network]] = {network.kind: network for network in (TFGridNet, TwoStage, MaskMVDR)}


class ByMicrophonesConfig(Settings):
    """Both separators' sizes."""

    kind: Literal["by_microphones"] = "by_microphones"
    one: SeparatorConfig
    several: SeparatorConfig

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name in ("sample_rate", "speakers"):
            one, several = getattr(self.one, name), getattr(self.several, name)
            if one != several:
                raise ValueError(f"{name} is {one} for one microphone, {several} for several; they must be equal")
        if self.one.reference_microphone or self.several.reference_microphone:
            raise ValueError("reference_microphone must be 0 for one microphone and for several")
        return self

    @property
    def sample_rate(self) -> int:
        """In Hz, of both."""
        return self.several.sample_rate

    @property
    def speakers(self) -> int:
        """How many are separated, by both."""
        return self.several.speakers

    @property
    def microphones(self) -> int:
        """The most that are taken."""
        return self.several.microphones

    @property
    def reference_microphone(self) -> int:
        """Always the first."""
        return 0


class ByMicrophones(SavedModel[ByMicrophonesConfig]):
    """Mixtures in, one waveform per speaker out, by the separator that was trained for so many microphones."""

    kind: ClassVar[str] = "by_microphones"
    usage: ClassVar[str] = "separate INPUT --model FOLDER"
    Config: ClassVar[type[Settings]] = ByMicrophonesConfig

    def __init__(self, config: ByMicrophonesConfig, parts: tuple[Network, Network] | None = None) -> None:
        super().__init__(config)
        if parts is None:
            one: Any = NETWORKS[config.one.kind]
            several: Any = NETWORKS[config.several.kind]
            parts = one(config.one), several(config.several)
        self.one, self.several = parts

    @classmethod
    def join(cls, one: "Network | ByMicrophones", several: "Network | ByMicrophones") -> "ByMicrophones":
        """Two that were trained apart.

        Raises:
            SepasrError: where they do not fit each other, or one is of two already.
        """
        configs = {"one": one.config, "several": several.config}
        config = validate(ByMicrophonesConfig, configs, "separators trained apart")
        assert not isinstance(one, ByMicrophones) and not isinstance(several, ByMicrophones)  # no such config is valid
        return cls(config, (one, several))

    @property
    def takes(self) -> range:
        """The numbers of microphones that are taken: one, and up to the most."""
        return range(1, self.several.takes.stop)

    def of(self, microphones: int) -> Network:
        """The separator in charge of so many microphones."""
        return self.one if microphones == 1 else self.several

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Separate mixtures (B, M, N) into (B, S, N); `lengths` as the separators take them.

        Examples whose other channels are silent, as where training draws one microphone, are of one microphone.

        Raises:
            SepasrError: where the mixture has not the microphones that the separator in charge was made for.
        """
        alone = ~mixture[:, 1:].flatten(1).any(1)
        if not alone.any():
            return self.several(mixture, lengths)
        if alone.all():
            return self.one(mixture[:, :1], lengths)
        estimates = mixture.new_zeros(len(mixture), self.config.speakers, mixture.shape[2], dtype=torch.float)
        for rows, separator, heard in ((alone, self.one, mixture[:, :1]), (~alone, self.several, mixture)):
            estimates[rows] = separator(heard[rows], None if lengths is None else lengths[rows])
        return estimates
