from __future__ import annotations

from dataclasses import dataclass

import pytest

from uniadapter.utils.options import near_name, option_names


class Plain:
    pass


class Base:
    def __init__(self, width: int, depth: int = 1) -> None: ...


class HandsOn(Base):
    def __init__(self, *args: int, bias: bool = True, **kwargs: int) -> None: ...


class TakesAny:
    def __init__(self, size: int, **options: int) -> None: ...


@dataclass
class Settings:
    colour: str = "red"


class HasOptions(Base):
    Options = Settings

    def __init__(self, width: int, **options: str) -> None: ...


class HandsOnOptions(HasOptions):
    def __init__(self, *, bias: bool = True, **kwargs: str) -> None: ...


def function(batch: list, size: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Plain, set()),
        (Base, {"width", "depth"}),
        (HandsOn, {"width", "depth", "bias"}),
        (TakesAny, None),
        (HasOptions, {"width", "colour"}),
        (HandsOnOptions, {"width", "colour", "bias"}),
        (function, {"batch", "size"}),
    ],
)
def test_option_names(found: object, expected: set[str] | None):
    assert option_names(found) == expected


def test_near_name():
    assert near_name("botleneck", ["bottleneck", "scale"]) == " Did you mean 'bottleneck'?"
    assert near_name("x", ["bottleneck"]) == ""
