"""How many microphones a separator takes."""

import sys
from typing import Protocol

from sepasr_cli.errors import SepasrError


class Microphones(Protocol):
    """The part of a separator's configuration that says so."""

    @property
    def microphones(self) -> int: ...
    @property
    def reference_microphone(self) -> int: ...
    @property
    def fewer_microphones(self) -> bool: ...


def accepted(config: Microphones, any_number: bool = False) -> range:
    """The numbers of microphones that a separator of this configuration takes."""
    least = config.reference_microphone + 1
    if any_number:
        return range(least, sys.maxsize)
    return range(least if config.fewer_microphones else config.microphones, config.microphones + 1)


def described(numbers: range) -> str:
    """A range of numbers in words.

    >>> described(range(2, 3)), described(range(1, 5)), described(range(2, sys.maxsize))
    ('2', '1 to 4', 'at least 2')
    """
    if numbers.stop == sys.maxsize:
        return f"at least {numbers.start}"
    return f"{numbers.start}" if len(numbers) == 1 else f"{numbers.start} to {numbers[-1]}"


def check_microphones(channels: int, numbers: range) -> None:
    """Refuse a mixture of another number of channels.

    Raises:
        SepasrError: where `channels` is not among the numbers.
    """
    if channels not in numbers:
        raise SepasrError(
            f"found {channels} channel{'s' * (channels != 1)}, the model expects {described(numbers)}; "
            "choose them with --channels"
        )
