"""Parity with ESPnet: the same weights on the same input. `make parity` installs ESPnet and prints the table."""

import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sepasr_cli  # noqa: F401  before torchaudio, which can then be imported beside any PyTorch

import torchaudio  # isort: skip

#: What two implementations may differ by in single precision, relative to the largest value.
TOLERANCE = 1e-5

if find_spec("espnet2"):
    # ESPnet imports it everywhere, and it asks the network when imported; nothing that is compared here uses it.
    sys.modules["g2p_en"] = module_from_spec(ModuleSpec("g2p_en", None))
    # What of torchaudio is gone, and s3prl asks for in models that are not compared.
    torchaudio.set_audio_backend = lambda name: None
    effects = sys.modules["torchaudio.sox_effects"] = module_from_spec(ModuleSpec("torchaudio.sox_effects", None))
    effects.apply_effects_tensor = None  # type: ignore[attr-defined]

ROWS: dict[tuple[str, str], tuple[str, float]] = {}
TIMES: list[tuple[str, float]] = []


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def agree() -> Callable[..., None]:
    """Check that ours equals theirs, and put it into the table."""

    def check(
        module: str, configuration: str, ours: Tensor, theirs: Tensor, tolerance: float = TOLERANCE, scale: float = 0.0
    ) -> None:
        assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
        difference = float((ours - theirs).abs().max()) / (scale or float(theirs.abs().max()))
        worst = max(difference, ROWS.get((module, configuration), ("", 0.0))[1])
        ROWS[module, configuration] = ("absolute" if scale else "relative", worst)
        assert difference <= tolerance

    return check


@pytest.fixture
def times() -> Callable[[str], contextlib.AbstractContextManager[None]]:
    """Tell how long something took, below the table."""

    @contextlib.contextmanager
    def measure(what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        TIMES.append((what, time.perf_counter() - began))

    return measure


@pytest.fixture
def randomise() -> Callable[[nn.Module], Any]:
    """Give every weight a value of its own, gains and running statistics too, so that no mix-up goes unnoticed."""

    def spread(model: nn.Module) -> nn.Module:
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and value.dim() <= 1:
                value.add_(0.2 * torch.rand_like(value))
            elif value.is_floating_point() and min(value.shape) == 1:  # gains with axes to be broadcast over
                value.add_(0.2 * torch.randn_like(value))
            assert bool(torch.isfinite(value).all()), name
        return model.eval()

    return spread


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not ROWS:
        return
    terminalreporter.write_line("\n| module | configuration | worst difference |\n|---|---|---|")
    for (module, configuration), (kind, worst) in sorted(ROWS.items()):
        terminalreporter.write_line(f"| {module} | {configuration} | {worst:.1e} {kind} |")
    if TIMES:
        terminalreporter.write_line("\n| the paper's system, random weights | seconds |\n|---|---|")
    for what, seconds in TIMES:
        terminalreporter.write_line(f"| {what} | {seconds:.1f} |")
