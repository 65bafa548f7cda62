"""The device and the precision: automatic, by name, and one line where they are not there."""

from pathlib import Path

import pytest
import torch

from sepasr_cli.device import pick_device, pick_precision
from sepasr_cli.errors import ArgumentError, SepasrError


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


def test_precision_is_what_is_asked_for_and_automatic_where_the_processor_has_it() -> None:
    cpu = torch.device("cpu")
    assert pick_precision("fp32", cpu) == "fp32" and pick_precision("bf16", cpu) == "bf16"
    flags = Path("/proc/cpuinfo")
    has_it = flags.exists() and any(name in flags.read_text() for name in ("avx512_bf16", "amx_bf16"))
    assert pick_precision("auto", cpu) == ("bf16" if has_it else "fp32")
    with pytest.raises(ArgumentError, match=r"^precision 'half' is not known; expected one of auto, fp32, bf16"):
        pick_precision("half", cpu)  # type: ignore[arg-type]
