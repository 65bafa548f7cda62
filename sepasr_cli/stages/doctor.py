"""`sepasr doctor`: what is installed, where it can compute, and what is missing for which command."""

import json as json_text
import os
import platform
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from sepasr_cli import bundled
from sepasr_cli.errors import SepasrError
from sepasr_cli.version import __version__

#: Names of import that are not the distribution's own.
IMPORTED_AS = {"PyYAML": "yaml"}

#: What distributions are needed for, where it is not everything.
USED_BY = {
    "accelerate": "pretrain-sep, pretrain-asr, joint-finetune",
    "jinja2": "report",
    "jiwer": "score",
    "meeteval": "score",
    "pyroomacoustics": "simulate",
    "rapidfuzz": "score",
}

#: Extras that a user may want, the package each brings, and what is not there without it.
EXTRAS = {
    "espeak": ("espeakng_loader", "speech made by eSpeak NG where there is no data: corpora of kind espeak, make demo"),
    "pesq": ("pesq", "PESQ in score"),
    "plots": ("matplotlib", "report --plots"),
    "tensorboard": ("tensorboard", "training with tensorboard: true"),
    "whisper": ("whisper_normalizer", "score --text whisper"),
}


@dataclass(frozen=True)
class Finding:
    """A package: its version where it is there, what is wrong with it, what it is for, what to do."""

    package: str
    version: str | None
    trouble: str | None
    used_by: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """What was found; `needed` are packages that nothing works without, or not the commands named."""

    sepasr: str
    python: str
    platform: str
    cores: int
    memory_gib: float | None
    disk_free_gib: float
    devices: tuple[str, ...]
    audio: str
    bundled: str
    needed: tuple[Finding, ...]
    optional: tuple[Finding, ...]

    def check(self) -> None:
        """See that nothing needed is broken.

        Raises:
            SepasrError: naming what is, and what to do.
        """
        if broken := [one for one in self.needed if one.trouble]:
            first = broken[0]
            more = f" ({len(broken) - 1} more)" if len(broken) > 1 else ""
            raise SepasrError(f"{first.package}: {first.trouble}{more}; {first.remedy}")


def doctor(json: bool = False) -> Diagnosis:
    """Try everything that the commands import, and say what is missing for which.

    Args:
        json: print JSON instead of text.

    Returns:
        The findings: `check()` raises where anything that is needed is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        diagnosis = Diagnosis(
            sepasr=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            cores=os.cpu_count() or 1,
            memory_gib=_memory(),
            disk_free_gib=round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
            needed=tuple(_needed()),
            optional=tuple(_extra(name, module, purpose) for name, (module, purpose) in EXTRAS.items()),
            devices=tuple(_devices()),
            audio=_audio(),
            bundled=_bundled(),
        )
    if json:
        print(json_text.dumps(asdict(diagnosis), indent=2))
    else:
        _show(diagnosis)
    return diagnosis


def _needed() -> list[Finding]:
    try:
        wanted = [Requirement(line) for line in requires("sepasr") or []]
    except PackageNotFoundError:
        return [Finding("sepasr", None, "is not installed", "everything", "run: pip install -e . in its repository")]
    return [_try(one) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _try(wanted: Requirement) -> Finding:
    found, trouble = _import(IMPORTED_AS.get(wanted.name, wanted.name.replace("-", "_")), wanted.name)
    if trouble is None and found is not None and not wanted.specifier.contains(found, prereleases=True):
        trouble = f"version {found} found, expected {wanted.specifier}"
    return Finding(
        wanted.name,
        found,
        trouble,
        USED_BY.get(wanted.name, "everything"),
        f"run: pip install '{wanted.name}{wanted.specifier}'",
    )


def _extra(extra: str, module: str, purpose: str) -> Finding:
    found, trouble = _import(module, module)
    return Finding(module, found, trouble, purpose, f"run: pip install 'sepasr[{extra}]'")


def _import(module: str, distribution: str) -> tuple[str | None, str | None]:
    """The version of a package, and what is wrong with it."""
    try:
        found = version(distribution)
    except PackageNotFoundError:
        found = None
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        return found, "is not installed" if missing == module else f"cannot be imported: lacks {missing}"
    except Exception as error:  # whatever a broken package raises
        return found, f"cannot be imported: {' '.join(str(error).split()) or type(error).__name__}"
    return found, None


def _devices() -> list[str]:
    try:
        import torch
    except Exception as error:
        return [f"none: PyTorch cannot be imported ({' '.join(str(error).split())})"]
    devices = [f"cpu: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"]
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        devices.append(f"cuda:{number}: {facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        devices.append("mps: Apple GPU")
    return devices


def _audio() -> str:
    try:
        import soundfile
    except Exception as error:
        return f"none: soundfile cannot be imported ({' '.join(str(error).split())})"
    there = soundfile.available_formats()
    lacking = [name for name in ("WAV", "FLAC", "OGG", "MP3", "NIST") if name not in there]
    return f"libsndfile {soundfile.__libsndfile_version__}" + (f", without {', '.join(lacking)}" if lacking else "")


def _bundled() -> str:
    try:
        return bundled.described()
    except SepasrError as error:
        return f"model: none: {error}"


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _show(diagnosis: Diagnosis) -> None:
    memory = "" if diagnosis.memory_gib is None else f", {diagnosis.memory_gib:g} GiB memory"
    print(f"sepasr {diagnosis.sepasr}, Python {diagnosis.python}, {diagnosis.platform}")
    print(f"{diagnosis.cores} cores{memory}, {diagnosis.disk_free_gib:g} GiB free on this disk, {diagnosis.audio}")
    for device in diagnosis.devices:
        print(f"device {device}")
    print(diagnosis.bundled)
    print("\nneeded")
    _rows(diagnosis.needed)
    print("\noptional")
    _rows(diagnosis.optional)
    missing = [one.package for one in (*diagnosis.needed, *diagnosis.optional) if one.trouble]
    print(f"\n{'all is there' if not missing else 'not there: ' + ', '.join(missing)}")


def _rows(findings: Sequence[Finding]) -> None:
    width = max((len(one.package) for one in findings), default=0)
    for one in findings:
        state = f"{one.trouble}; {one.remedy}" if one.trouble else "ok"
        print(f"  {one.package:{width}}  {one.version or '-':12} {state:4} ({one.used_by})")
