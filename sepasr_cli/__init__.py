"""sepasr: who said what when people talk at once."""

from sepasr_cli import _torchaudio_import
from sepasr_cli.version import __version__

__all__ = ["__version__"]

_torchaudio_import.install()
