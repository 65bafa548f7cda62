"""Which device computes, and how precisely."""

from typing import Literal, get_args

import torch

from sepasr_cli.errors import ArgumentError, SepasrError

#: fp32: exactly; bf16: matrix products and LSTMs in bfloat16; auto: bf16 where that is what the device is made for.
Precision = Literal["auto", "fp32", "bf16"]


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


def pick_precision(name: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """The precision of that name on a device.

    Raises:
        ArgumentError: where the name is unknown.
    """
    if name not in get_args(Precision):
        raise ArgumentError(f"precision '{name}' is not known; expected one of {', '.join(get_args(Precision))}")
    if name != "auto":
        return name
    return "bf16" if _computes_bf16(device) else "fp32"


def _computes_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, and does not merely imitate them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
