"""sepasr: who said what when people talk at once.

Each command of `sepasr` is a function here of the same name and arguments, such as `sepasr_cli.transcribe`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sepasr_cli import _torchaudio_import
from sepasr_cli.version import __version__

if TYPE_CHECKING:
    from sepasr_cli.stages.compare import compare
    from sepasr_cli.stages.convert import convert
    from sepasr_cli.stages.doctor import doctor
    from sepasr_cli.stages.import_espnet import import_espnet
    from sepasr_cli.stages.info import info
    from sepasr_cli.stages.joint_finetune import joint_finetune
    from sepasr_cli.stages.pretrain_asr import pretrain_asr
    from sepasr_cli.stages.pretrain_lm import pretrain_lm
    from sepasr_cli.stages.pretrain_sep import pretrain_sep
    from sepasr_cli.stages.report import report
    from sepasr_cli.stages.score import score
    from sepasr_cli.stages.separate import separate
    from sepasr_cli.stages.simulate import simulate
    from sepasr_cli.stages.transcribe import transcribe

__all__ = [
    "__version__",
    "compare",
    "convert",
    "doctor",
    "import_espnet",
    "info",
    "joint_finetune",
    "pretrain_asr",
    "pretrain_lm",
    "pretrain_sep",
    "report",
    "score",
    "separate",
    "simulate",
    "transcribe",
]

_torchaudio_import.install()


def __getattr__(name: str) -> Any:
    # Imported when first asked for: PyTorch takes seconds.
    if name in __all__:
        return getattr(import_module(f"sepasr_cli.stages.{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
