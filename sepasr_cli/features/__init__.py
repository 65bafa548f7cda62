"""What the recogniser listens to: log-mel filterbanks or a self-supervised model, both (B, N) -> (B, T, D)."""

from typing import Annotated

from pydantic import Field

from sepasr_cli.features.filterbank import Filterbank, FilterbankConfig
from sepasr_cli.features.ssl import SSLConfig, SSLFeatures

FeaturesConfig = Annotated[FilterbankConfig | SSLConfig, Field(discriminator="kind")]
Features = Filterbank | SSLFeatures


def build_features(config: FeaturesConfig, sample_rate: int) -> Features:
    """The features of a configuration, for audio at `sample_rate` Hz."""
    return Filterbank(config, sample_rate) if isinstance(config, FilterbankConfig) else SSLFeatures(config, sample_rate)


__all__ = [
    "Features",
    "FeaturesConfig",
    "Filterbank",
    "FilterbankConfig",
    "SSLConfig",
    "SSLFeatures",
    "build_features",
]
