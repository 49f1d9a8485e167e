"""The fenced blocks of the documentation, and the marks in front of them.

A mark is an HTML comment on a line of its own, which a reader of the page does not see:

    <!-- not run: needs the data set -->     why the next block is not run, one of :data:`REASONS`
    <!-- config: configs/a.py -->            the next block is part of a config that inherits a.py
    <!-- prepare:                            Python that runs before the next block
    x = 1
    -->
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import ROOT

#: Why a block may go without being run. Commands are held against the parser of their arguments
#: all the same.
REASONS = (
    "needs the data set",
    "needs published weights",
    "needs files of your own",
    "needs a GPU",
    "needs several GPUs",
    "needs Slurm",
    "needs the network",
    "takes minutes",
    "takes hours",
    "sets up the machine",
    "abridged",
)
SHELLS = ("bash", "sh", "shell", "console")
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        *sorted(ROOT.glob("docs/**/*.md")),
        *sorted(ROOT.glob("projects/*/README.md")),
    )
    if path.name != "changelog.md"
)
_BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```[ ]*$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--\s*(not run|config|prepare):((?:(?!-->).)*)-->\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The page, from the repository's root.
        line: Line of its fence.
        language: Word behind the fence.
        code: What is in it.
        reason: Why it is not run; None where it is.
        config: What it inherits as a part of a config; None where nothing is said.
        prepare: Python that runs before it.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str | None = None
    config: str | None = None
    prepare: str = ""

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page}:{self.line}"

    @property
    def is_config(self) -> bool:
        """Whether it is Python that only assigns values, as configs do."""
        return all(
            isinstance(node, _PLAIN) and (not isinstance(node, ast.Call) or _is_dict(node))
            for node in ast.walk(ast.parse(self.code))
        )


_PLAIN = (
    *(ast.Module, ast.Assign, ast.Expr, ast.Name, ast.Attribute, ast.Constant, ast.Call),
    *(ast.keyword, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.expr_context),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop),
)


def _is_dict(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "dict"


def blocks_of(page: str) -> Iterator[Block]:
    """Blocks of a page, in order, each with the marks right in front of it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        before, marks = text[: found.start()], {}
        while mark := _COMMENT.search(before):
            marks[mark[1]] = mark[2]
            before = before[: mark.start()]
        indent = len(found[1])
        yield Block(
            page=page,
            line=text[: found.start()].count("\n") + 1,
            language=found[2],
            code="".join(line[indent:] for line in found[3].splitlines(keepends=True)),
            reason=marks["not run"].strip() if "not run" in marks else None,
            config=marks["config"].strip() if "config" in marks else None,
            prepare=marks.get("prepare", ""),
        )


def marks_of(page: Path) -> int:
    """How many marks a page has, wherever they stand."""
    text = page.read_text(encoding="utf-8")
    return len(re.findall(r"^ *<!--\s*(?:not run|config|prepare)\b", text, re.MULTILINE))
