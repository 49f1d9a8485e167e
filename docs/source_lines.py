"""The lines of the symbols that pages name, found when the site is built."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "uniadapter"
#: A file of the package and a symbol of it, as tables of equations name them.
REFERENCE = re.compile(r"`((?!configs/|tests/|tools/)(?:\w+/)+\w+\.py)`, `([A-Za-z_][\w.]*)`")


@cache
def _symbols(path: Path) -> dict[str, int]:
    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int]]:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + node.name, node.lineno
                if isinstance(node, ast.ClassDef):
                    yield from walk(node.body, f"{prefix}{node.name}.")

    return dict(walk(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def line_of(file: str, symbol: str) -> int:
    """Line of a class, function or method.

    Args:
        file: Path below ``uniadapter/``.
        symbol: Its name, as ``LayerAdapter.forward``.

    Raises:
        FileNotFoundError: If there is no such file.
        KeyError: If it has no such symbol.
    """
    return _symbols(PACKAGE / file)[symbol]


def add_lines(text: str) -> str:
    """A page with the line behind each file that is named together with a symbol."""
    return REFERENCE.sub(lambda m: f"`{m[1]}:{line_of(m[1], m[2])}`, `{m[2]}`", text)
