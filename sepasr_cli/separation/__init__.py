"""Speech separation: mixtures of several talkers in, one waveform per talker out."""

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from sepasr_cli.separation.by_microphones import (
    NETWORKS,
    ByMicrophones,
    ByMicrophonesConfig,
    Network,
    NetworkConfig,
    SeparatorConfig,
)
from sepasr_cli.separation.mask_mvdr import MaskMVDR, MaskMVDRConfig
from sepasr_cli.separation.tfgridnet import TFGridNet, TFGridNetConfig
from sepasr_cli.separation.two_stage import TwoStage

Separator: TypeAlias = Network | ByMicrophones
#: What a saved model may hold; a recipe trains a `SeparatorConfig`.
AnySeparatorConfig: TypeAlias = Annotated[NetworkConfig | ByMicrophonesConfig, Field(discriminator="kind")]

__all__ = [
    "NETWORKS",
    "AnySeparatorConfig",
    "ByMicrophones",
    "MaskMVDR",
    "MaskMVDRConfig",
    "Separator",
    "SeparatorConfig",
    "TFGridNet",
    "TFGridNetConfig",
    "TwoStage",
    "build_separator",
]


def build_separator(config: NetworkConfig | ByMicrophonesConfig) -> Separator:
    """The separator that the configuration describes, with fresh weights."""
    if isinstance(config, ByMicrophonesConfig):
        return ByMicrophones(config)
    network: Any = NETWORKS[config.kind]
    return network(config)
