"""Speech separation: mixtures of several talkers in, one waveform per talker out."""

from typing import Annotated, TypeAlias

from pydantic import Field

from sepasr_cli.separation.mask_mvdr import MaskMVDR, MaskMVDRConfig
from sepasr_cli.separation.tfgridnet import TFGridNet, TFGridNetConfig

SeparatorConfig: TypeAlias = Annotated[TFGridNetConfig | MaskMVDRConfig, Field(discriminator="kind")]
Separator: TypeAlias = TFGridNet | MaskMVDR


def build_separator(config: TFGridNetConfig | MaskMVDRConfig) -> Separator:
    """The separator that the configuration describes, with fresh weights."""
    if isinstance(config, TFGridNetConfig):
        return TFGridNet(config)
    return MaskMVDR(config)
