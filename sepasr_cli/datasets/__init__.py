"""Published sets of mixtures: one reader for each layout, all yielding `Mixture`."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from sepasr_cli.datasets import libricss, librimix, sms_wsj, whamr, wsj0_2mix
from sepasr_cli.datasets.libricss import LibriCSS
from sepasr_cli.datasets.librimix import LibriMix
from sepasr_cli.datasets.making import Plan
from sepasr_cli.datasets.sms_wsj import SMSWSJ
from sepasr_cli.datasets.whamr import WHAMR
from sepasr_cli.datasets.wsj0_2mix import WSJ0Mix
from sepasr_cli.manifest import Mixture, Split
from sepasr_cli.simulation.config import SimulationConfig

DatasetConfig = Annotated[WSJ0Mix | WHAMR | LibriMix | SMSWSJ | LibriCSS, Field(discriminator="kind")]

_READERS: dict[str, Callable[[Any, Split, int, bool], list[Mixture]]] = {
    "wsj0_2mix": wsj0_2mix.read,
    "whamr": whamr.read,
    "librimix": librimix.read,
    "sms_wsj": sms_wsj.read,
    "libricss": libricss.read,
}


def read_dataset(config: DatasetConfig, split: Split, sample_rate: int, skip_bad: bool = False) -> list[Mixture]:
    """The mixtures of a split as manifest lines, whose files are named below `dataset/`; every file is checked.

    Raises:
        SepasrError: for a folder that is not there; unless bad ones are skipped, for every mixture with a file that is
            missing, broken, of another rate or length, with too few channels, or without a transcript.
    """
    return _READERS[config.kind](config, split, sample_rate, skip_bad)


def plans(config: DatasetConfig, split: Split, sample_rate: int, seed: int, simulation: SimulationConfig) -> list[Plan]:
    """What there is to make of a split by `make_from`; nothing where the set is there already.

    Raises:
        SepasrError: for a table that is missing or broken, and for files that it names and are not there.
    """
    if getattr(config, "make_from", None) is None:
        return []
    # Rooms are the business of few runs, and slow to import.
    from sepasr_cli.datasets import librimix_rendering, whamr_rendering, wsj0_2mix_rendering

    if isinstance(config, WSJ0Mix):
        return [wsj0_2mix_rendering.plan(config, split, sample_rate, seed, simulation)]
    if isinstance(config, WHAMR):
        return [whamr_rendering.plan(config, split, sample_rate)]
    assert isinstance(config, LibriMix)
    return librimix_rendering.plans(config, split, sample_rate)


__all__ = ["SMSWSJ", "WHAMR", "DatasetConfig", "LibriCSS", "LibriMix", "WSJ0Mix", "plans", "read_dataset"]
