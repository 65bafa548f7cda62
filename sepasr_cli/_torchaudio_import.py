"""Lets torchaudio be imported beside a PyTorch that its compiled parts were not built for.

The wheel on PyPI carries libraries linked to CUDA. Beside a CPU-only PyTorch they cannot be loaded, and
`import torchaudio` fails (as does every module of transformers that imports it). All that is used here is
written in Python, so where the libraries do not load, torchaudio is told that it has none.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

EXTENSION = "torchaudio._extension"


class _WithoutCompiledParts(importlib.abc.Loader):
    def __init__(self, real: importlib.abc.Loader) -> None:
        self.real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.real.exec_module(module)
        except (OSError, RuntimeError):  # RuntimeError: compiled for another CUDA version
            from torchaudio._internal.module_utils import fail_with_message

            vars(module).update(
                _IS_TORCHAUDIO_EXT_AVAILABLE=False,
                _IS_ALIGN_AVAILABLE=False,
                fail_if_no_align=fail_with_message("needs torchaudio's compiled parts, which do not fit this PyTorch"),
            )


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != EXTENSION:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutCompiledParts(spec.loader)
        return spec


def install() -> None:
    """Prepare a later import of torchaudio; imports nothing itself."""
    if EXTENSION not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
