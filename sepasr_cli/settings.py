"""The base of every configuration: frozen, typed, and strict about its keys."""

from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sepasr_cli.errors import SepasrError


class Settings(BaseModel):
    """Plain, immutable, validated data; unknown keys and impossible values are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )


SettingsType = TypeVar("SettingsType", bound=Settings)

#: What pydantic calls by names of Python, as a user who writes YAML knows it.
_EXPECTED = {
    "model_type": "settings as `key: value`",
    "model_attributes_type": "settings as `key: value`",
    "dict_type": "settings as `key: value`",
    "tuple_type": "a list, as [a, b]",
    "list_type": "a list, as [a, b]",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "string_type": "text",
    "path_type": "a path",
    "invalid_key": "text as a key",
    "finite_number": "a finite number",
}


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
    problems = [(*_follow(kind, problem["loc"]), problem) for problem in error.errors()]
    keys, level, problem = problems[0]
    # Each member of a union complains of the same value.
    same = [other for found, _, other in problems if found == keys]
    more = f" ({len(problems) - len(same)} more)" if len(problems) > len(same) else ""
    sort = problem["type"]
    if sort.startswith("union_tag"):
        keys = [*keys, problem["ctx"]["discriminator"].strip("'")]
    name = ".".join(str(key) for key in keys)
    if sort == "extra_forbidden":
        allowed = sorted({field for option in _settings_within(level) for field in option.model_fields})
        close = get_close_matches(str(keys[-1]), allowed, n=1)
        return f"unknown key '{name}'{more}{f', is {close[0]} meant?' if close else ''}; allowed: {', '.join(allowed)}"
    if sort == "missing":
        return f"'{name}' is missing{more}; add it"
    if sort == "union_tag_not_found":
        kinds = [tag for option in _settings_within(level) for tag in _tags(option)]
        return f"'{name}' is missing{more}; expected one of {', '.join(map(repr, kinds))}"
    where = f"'{name}': " if name else ""
    if sort == "value_error":
        # Our own validators name what they found.
        return f"{where}{problem['msg'].removeprefix('Value error, ')}{more}"
    found = repr(problem["ctx"]["tag"] if sort == "union_tag_invalid" else problem["input"])
    shown = found if len(found) <= 80 else f"{found[:60]}..."
    return f"{where}found {shown}, expected {' or '.join(dict.fromkeys(map(_expected, same)))}{more}"


def _expected(problem: Any) -> str:
    if problem["type"] == "union_tag_invalid":
        return f"one of {problem['ctx']['expected_tags']}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("expected ").removeprefix("Input should be ")
    message = message.split(" should have ")[-1].replace(" after validation", "")
    message = message[:1].lower() + message[1:]
    return _EXPECTED.get(problem["type"]) or ("a number " * message.startswith(("greater", "less")) + message)


def _follow(kind: type[Settings], location: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """The user's keys of pydantic's location, and the annotation that the last known one leads to.

    Names that pydantic adds for the members of a union are no keys of the user's.
    """
    keys: list[Any] = []
    level: Any = kind
    for key in location:
        options = _settings_within(level)
        tagged = [option for option in options if len(options) > 1 and key in _tags(option)]
        member = isinstance(key, str) and (
            "[" in key or (not options and key.removeprefix("constrained-") in ("int", "float", "str", "bool"))
        )
        if tagged:
            level = tagged[0]
        elif not member:
            keys.append(key)
            if len(options) == 1 and key in options[0].model_fields:
                level = options[0].model_fields[key].annotation
    return keys, level


def _tags(kind: type[BaseModel]) -> tuple[Any, ...]:
    field = kind.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _settings_within(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _settings_within(inner)]
