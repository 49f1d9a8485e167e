"""A small embedded world with all of its parts, for several test files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tests.helpers import ROOT

SMALL = ["--stills", "0", "--train-videos", "12", "--test-videos", "5", "--share", "0.01"]
SIZES = {"didemo": (8, 4, 4), "photos": (15, 4, 4)}


def load_tool(path: str) -> ModuleType:
    """A script of tools/ as a module."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def draw_parts(out: Path, *options: str) -> Path:
    """Draw the small world with the twins of all benchmarks."""
    tool = load_tool("dataset_converters/make_toy_world.py")
    tool.main(["--out", str(out), *SMALL, "--parts", "all", *options])
    return out
