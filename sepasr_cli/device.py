"""Which device computes."""

import torch

from sepasr_cli.errors import SepasrError


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        SepasrError: where the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind, _, number = name.partition(":")
    if kind not in available or (number and not number.isdecimal()):
        raise SepasrError(f"device '{name}' is not known; expected one of auto, cpu, cuda, mps")
    if not available[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        found = ", ".join(kind for kind, there in available.items() if there)
        raise SepasrError(f"device '{name}' is not available here; found {found}; use --device auto")
    return torch.device(name)
