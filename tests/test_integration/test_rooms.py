"""Imports run one way, from the upper rooms of the package to the lower ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.helpers import ROOT

PACKAGE = "uniadapter"
# From the lowest room up. Rooms of one floor do not know each other.
FLOORS = (
    ("version",),
    ("registry",),
    ("utils",),
    ("structures",),
    ("checkpoints",),
    ("models", "datasets", "evaluation", "visualization"),
    ("retrieval",),
    ("engine",),
    ("apis",),
    ("search",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


class Import(NamedTuple):
    """One import of a module of the package: who, whom, in which line, and in a function or not."""

    source: str
    target: str
    line: int
    local: bool


def modules_of(root: Path) -> dict[str, Path]:
    """Files by the names of the modules."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def statements(node: ast.AST, local: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Import statements, and whether they stand in a function; those for type checkers apart."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, local
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from statements(other, local)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(child, local or function)


def targets(statement: ast.stmt, module: str, path: Path, known: dict[str, Path]) -> list[str]:
    """Modules of the package that a statement imports."""
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    else:
        assert isinstance(statement, ast.ImportFrom)
        base = statement.module or ""
        if statement.level:
            here = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            here = here[: len(here) - statement.level + 1]
            base = ".".join([*here, base] if base else here)
        whole = [f"{base}.{alias.name}" for alias in statement.names]
        names = [name if name in known else base for name in whole]
    return [name for name in dict.fromkeys(names) if name in known]


def imports_of(root: Path) -> list[Import]:
    """All imports inside the package."""
    known = modules_of(root)
    return [
        Import(module, target, statement.lineno, local)
        for module, path in known.items()
        for statement, local in statements(ast.parse(path.read_text(encoding="utf-8")))
        for target in targets(statement, module, path, known)
    ]


def room(module: str) -> str:
    """The folder or file directly in the package; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def upward(imports: list[Import]) -> list[str]:
    """Imports that do not lead to a room of a lower floor."""
    wrong = []
    for source, target, line, _ in imports:
        above, below = room(source), room(target)
        if above == below or not above:
            continue
        if not below or FLOOR[above] <= FLOOR[below]:
            wrong.append(f"{source}:{line} imports {target}")
    return wrong


def circles(imports: list[Import], known: dict[str, Path]) -> list[list[str]]:
    """Circles among modules; importing a module runs its packages' ``__init__.py`` first."""
    edges: dict[str, set[str]] = {module: set() for module in known}
    for source, target, _, _ in imports:
        own = {".".join(source.split(".")[:n]) for n in range(1, source.count(".") + 2)}
        parts = target.split(".")
        run = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        # A module's own packages are being run already when it is.
        edges[source] |= (run - own) | ({target} - {source})
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for target in sorted(edges[module]):
                visit(target, [*path, module])
            done.add(module)

    for module in edges:
        visit(module, [])
    return found


def test_every_room_has_its_floor():
    assert {room(module) for module in modules_of(ROOT)} - {""} <= set(FLOOR)


def test_imports_lead_down():
    assert upward(imports_of(ROOT)) == []


def test_utils_are_leaves():
    leaving = [
        f"{source} imports {target}"
        for source, target, _, _ in imports_of(ROOT)
        if room(source) == "utils" and source != "uniadapter.utils" and room(target) != "utils"
    ]
    assert leaving == []


def test_there_are_no_circles():
    assert circles(imports_of(ROOT), modules_of(ROOT)) == []


def test_no_import_of_the_package_hides_in_a_function():
    hidden = [f"{source}:{line}" for source, _, line, local in imports_of(ROOT) if local]
    assert hidden == []


def test_what_is_wrong_is_found(tmp_path: Path):
    files = {
        "__init__.py": "from .registry import A",
        "registry.py": "A = 1",
        "utils/__init__.py": "",
        "utils/leaf.py": "def f():\n    from uniadapter.models import thing",
        "models/__init__.py": "from .thing import B",
        "models/thing.py": "from ..utils.leaf import f\nfrom . import other",
        "models/other.py": "from .thing import B",
        "datasets/__init__.py": "from uniadapter import models",
        "engine/__init__.py": (
            "import typing\nif typing.TYPE_CHECKING:\n    import uniadapter.apis\n"
            "from uniadapter.models.other import C"
        ),
        "apis/__init__.py": "import uniadapter.engine",
    }
    for name, text in files.items():
        path = tmp_path / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    imports = imports_of(tmp_path)
    assert upward(imports) == [
        "uniadapter.datasets:1 imports uniadapter.models",
        "uniadapter.utils.leaf:2 imports uniadapter.models.thing",
    ]
    assert [i.source for i in imports if i.local] == ["uniadapter.utils.leaf"]
    found = circles(imports, modules_of(tmp_path))
    assert any(
        set(circle) == {"uniadapter.models.thing", "uniadapter.models.other"} for circle in found
    )
    assert any("uniadapter.utils.leaf" in circle for circle in found)
