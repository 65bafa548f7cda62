"""Settings of an ESPnet experiment, each of which has to be understood."""

from typing import Any

from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained.espnet.rules import listed


class Options:
    """One level of a config.yaml. What is taken is crossed off; what is left at the end is an error."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict | None):
            raise SepasrError(f"{where}: found {values!r}, expected settings as `key: value`")
        self.values: dict[str, Any] = dict(values or {})
        self.where = where

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default that ESPnet has for it."""
        return self.values.pop(key, default)

    def has(self, key: str) -> bool:
        """Whether a key is there with a value."""
        return self.values.get(key) is not None

    def below(self, key: str) -> "Options":
        """The settings that stand under a key; none where it is not there."""
        return Options(self.take(key), f"{self.where}: {key}")

    def choose(self, key: str, choices: dict[Any, Any], default: Any) -> Any:
        """What a value means for us.

        Raises:
            SepasrError: where it is none of the choices.
        """
        value = self.take(key, default)
        if not isinstance(value, str | int | float | None) or value not in choices:
            allowed = ", ".join(str(choice) for choice in choices)
            raise SepasrError(f"{self.where}: {key} is {value}; import knows {allowed}")
        return choices[value]

    def expect(self, **expected: Any) -> None:
        """Check that keys have the only values that we know, which are ESPnet's defaults too."""
        for key, value in expected.items():
            self.choose(key, {value: value}, value)

    def ignore(self, *keys: str) -> None:
        """Cross off what matters in training alone."""
        for key in keys:
            self.take(key)

    def finish(self) -> None:
        """Complain of what is left.

        Raises:
            SepasrError: listing it.
        """
        if self.values:
            raise SepasrError(f"{self.where}: unknown to import: {listed(sorted(self.values))}; another version's or "
                              "another class's settings cannot be imported")  # fmt: skip
