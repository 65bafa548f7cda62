"""The base of every configuration: frozen, typed, and strict about its keys."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sepasr_cli.errors import SepasrError


class Settings(BaseModel):
    """Plain, immutable, validated data; unknown keys and impossible values are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


SettingsType = TypeVar("SettingsType", bound=Settings)


def validate(kind: type[SettingsType], values: Any, origin: str) -> SettingsType:
    """Make settings of `kind` from plain data.

    Raises:
        SepasrError: naming `origin`, the first offending key, what was found and what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SepasrError(f"{origin}: {_first_problem(kind, error)}") from None


def _first_problem(kind: type[Settings], error: ValidationError) -> str:
    problem = error.errors()[0]
    keys, level = _follow(kind, problem["loc"])
    name = ".".join(str(key) for key in keys) or "top level"
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        allowed = sorted({field for option in _settings_within(level) for field in option.model_fields})
        return f"unknown key '{name}'{more}; allowed here: {', '.join(allowed)}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if problem["type"] == "missing":
        return f"'{name}' is missing{more}; add it"
    found = repr(problem["input"])
    if len(found) > 80 or keys == []:
        return f"'{name}': {message}{more}"
    return f"'{name}': found {found}, {message}{more}"


def _follow(kind: type[Settings], location: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """The user's keys of pydantic's location, and the annotation that the last known one leads to.

    Tags that pydantic adds for the members of a union are no keys of the user's.
    """
    keys: list[Any] = []
    level: Any = kind
    for key in location:
        options = _settings_within(level)
        tagged = [option for option in options if len(options) > 1 and _tag(option) == key]
        if tagged:
            level = tagged[0]
        elif not (isinstance(key, str) and "[" in key):
            keys.append(key)
            if len(options) == 1 and key in options[0].model_fields:
                level = options[0].model_fields[key].annotation
    return keys, level


def _tag(kind: type[BaseModel]) -> Any:
    field = kind.model_fields.get("kind")
    return field.default if field else None


def _settings_within(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _settings_within(inner)]
