"""Constructors have fewer than nine parameters; what has more options has a dataclass for them."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import uniadapter
from uniadapter.registry import MODELS, register_all_modules
from uniadapter.utils.options import option_names

MOST = 8
# MMEngine's BaseDataset decides on all of them but two, and on six of GLUE's.
DICTATED = {"BaseMediaDataset", "GLUE"}


def constructors() -> dict[str, int]:
    """Parameters of every constructor of the package that is written out, by class."""
    found = {}
    for path in sorted(Path(uniadapter.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for part in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    given = part.args
                    count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
                    found[node.name] = max(found.get(node.name, 0), count - 1)
    return found


def test_no_constructor_has_more_than_eight_parameters():
    counts = constructors()
    assert len(counts) > 80
    assert {name for name, count in counts.items() if count > MOST} == DICTATED


def test_options_of_a_dataclass_are_options_of_the_class():
    register_all_modules(init_scope=False)
    classes = [cls for cls in MODELS.module_dict.values() if "Options" in vars(cls)]
    assert classes
    for cls in classes:
        names = {field.name for field in fields(cls.Options)}
        assert names <= option_names(cls)
