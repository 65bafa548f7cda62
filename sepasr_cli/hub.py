"""Models of the Hugging Face hub: how to do without a network, and what to say when one cannot be had."""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from sepasr_cli.errors import SepasrError

#: Exceptions of huggingface_hub, by name, and what each means. They hide among the causes of what transformers raises.
REASONS = {
    "GatedRepoError": "its owner gives it to those who ask; ask there, then log in with `hf auth login`",
    "RepositoryNotFoundError": "Hugging Face has no such public model (log in with `hf auth login` for a private one)",
    "RevisionNotFoundError": "Hugging Face has the model, but not that revision",
    "LocalEntryNotFoundError": "it is not in the cache, and Hugging Face cannot be reached",
    "OfflineModeIsEnabled": "it is not in the cache, and Hugging Face is not asked",
}


def go_offline() -> None:
    """Take models from local folders and the cache alone, in this process and those it starts."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def quiet() -> None:
    """Keep transformers from drawing bars and warning of what is meant."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    # WavLM gives PyTorch masks of two types; the result is right.
    warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")


def unavailable(name: str, files: Sequence[str], remedy: str, error: BaseException) -> SepasrError:
    """The error of a model that cannot be had: why, which files are wanted, and where to put them.

    Args:
        name: a hub name, or a local folder.
        files: what a folder of the model holds at least.
        remedy: what to do with the folder's path.
        error: what the libraries raised.
    """
    wanted = f"{', '.join(files[:-1])} and {files[-1]}" if len(files) > 1 else files[0]
    if Path(name).is_dir():
        missing = [file for file in files if not (Path(name) / file).is_file()]
        reason = f"it lacks {', '.join(missing)}" if missing else _first_line(error)
        return SepasrError(f"'{name}': the folder holds no such model ({reason}); expected {wanted}, {remedy}")
    kinds = list(_kinds(error))
    if "HFValidationError" in kinds:
        return SepasrError(f"'{name}': no such folder, and no name of Hugging Face; expected {wanted}, {remedy}")
    reason = next((REASONS[kind] for kind in kinds if kind in REASONS), _first_line(error))
    return SepasrError(
        f"'{name}': no such folder, and {reason}; download {wanted} of https://huggingface.co/{name} into a folder "
        f"and {remedy}"
    )


def _kinds(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield type(error).__name__
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
