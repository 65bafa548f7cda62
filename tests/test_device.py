"""The device: automatic, by name, and one line where it is not there."""

import pytest
import torch

from sepasr_cli.device import pick_device
from sepasr_cli.errors import SepasrError


def test_cpu_is_always_there_and_auto_finds_something() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    torch.zeros(1, device=pick_device("auto"))


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "tpu:0"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(SepasrError, match=f"^device '{name}' is not known; expected one of auto, cpu, cuda"):
        pick_device(name)


def test_a_device_that_is_not_there() -> None:
    name = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(SepasrError, match=rf"^device '{name}' is not available here; found .*cpu; use --device auto"):
        pick_device(name)
