"""Settings: what is said of a wrong key, type or value, at any depth and in alternatives."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.settings import Settings, validate


class Circle(Settings):
    kind: Literal["circle"] = "circle"
    radius: float = Field(1.0, gt=0)


class Square(Settings):
    kind: Literal["square", "tile"] = "square"
    side: int = Field(2, ge=1, le=9)

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.side % 2:
            raise ValueError(f"side is {self.side}; expected an even number")
        return self


Shape = Annotated[Circle | Square, Field(discriminator="kind")]


class Drawing(Settings):
    title: str = "none"
    colour: Literal["red", "blue"] = "red"
    shape: Shape = Circle()
    more: tuple[Shape, ...] = ()
    names: tuple[str, ...] | Path | None = None
    layers: Literal["all", "last"] | int = "all"
    share: float = 0.5
    filled: bool = False
    counts: dict[Literal["train", "test"], int] = Field(default_factory=dict)
    pair: tuple[float, float] = (0.0, 1.0)


class Book(Settings):
    first: Drawing
    drawings: tuple[Drawing, ...] = ()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"titel": "x"}, "unknown key 'first.titel', is title meant?; allowed: colour, counts, filled, layers, "),
        ({"shape": {"kind": "circle", "side": 2}}, "unknown key 'first.shape.side'; allowed: kind, radius"),
        ({"more": [{"kind": "tile", "radius": 1}]}, "unknown key 'first.more.0.radius'; allowed: kind, side"),
        ({"shape": {"kind": "oval"}}, "'first.shape.kind': found 'oval', expected one of 'circle', 'square', 'tile'"),
        ({"shape": {"side": 2}}, "'first.shape.kind' is missing; expected one of 'circle', 'square', 'tile'"),
        ({"shape": {"kind": "circle", "radius": 0}}, "'first.shape.radius': found 0, expected a number greater than 0"),
        ({"shape": {"kind": "tile", "side": 3}}, "'first.shape': side is 3; expected an even number"),
        ({"shape": {"kind": "tile", "side": "two"}}, "'first.shape.side': found 'two', expected a whole number"),
        ({"shape": 5}, "'first.shape': found 5, expected settings as `key: value`"),
        ({"more": {"kind": "circle"}}, "'first.more': found {'kind': 'circle'}, expected a list, as [a, b]"),
        ({"colour": "green"}, "'first.colour': found 'green', expected 'red' or 'blue'"),
        ({"names": 5}, "'first.names': found 5, expected a list, as [a, b] or a path"),
        ({"layers": "some"}, "'first.layers': found 'some', expected 'all' or 'last' or a whole number"),
        ({"share": ".nan"}, "'first.share': found '.nan', expected a number"),
        ({"share": float("nan")}, "'first.share': found nan, expected a finite number"),
        ({"filled": "maybe"}, "'first.filled': found 'maybe', expected true or false"),
        ({"title": 5}, "'first.title': found 5, expected text"),
        ({"counts": {"dev": 1}}, "'first.counts.dev': found 'dev', expected 'train' or 'test'"),
        ({"counts": {"train": "x"}}, "'first.counts.train': found 'x', expected a whole number"),
        ({"pair": [1]}, "'first.pair.1' is missing; add it"),
        ({5: 1}, "'first.5': found 5, expected text as a key"),
        ({"share": "x", "colour": 1}, "'first.colour': found 1, expected 'red' or 'blue' (1 more)"),
        ({"title": ["long"] * 100}, f"'first.title': found {repr(['long'] * 100)[:60]}..., expected text"),
    ],
)
def test_the_key_what_was_found_and_what_is_allowed(values: Any, line: str) -> None:
    with pytest.raises(SepasrError) as caught:
        validate(Book, {"first": values}, "book.yaml")
    assert str(caught.value).startswith(f"book.yaml: {line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "'first' is missing; add it"),
        (5, "found 5, expected settings as `key: value`"),
        ({"first": {}, "drawings": [{}, {"title": None}]}, "'drawings.1.title': found None, expected text"),
    ],
)
def test_at_the_top_and_in_lists(values: Any, line: str) -> None:
    with pytest.raises(SepasrError) as caught:
        validate(Book, values, "book.yaml")
    assert str(caught.value) == f"book.yaml: {line}"


def test_settings_are_frozen_and_equal_by_value() -> None:
    drawing = validate(Drawing, {"shape": {"kind": "tile", "side": 4}}, "here")
    assert drawing == Drawing(shape=Square(kind="tile", side=4))
    with pytest.raises(ValidationError):
        drawing.title = "another"  # type: ignore[misc]
