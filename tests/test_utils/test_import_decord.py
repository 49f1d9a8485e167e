from __future__ import annotations

import sys

from tests.helpers import run
from uniadapter.utils import compat

PROGRAM = """
import sys
import torch
from pathlib import Path
from uniadapter.utils.compat import import_decord

def libraries():
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if "/nvidia/" in line}

before = libraries()
decord = import_decord()
assert decord is sys.modules["decord"]
assert decord is import_decord()
assert "nvidia" not in sys.modules or sys.modules["nvidia"] is not None
print(len(libraries() - before))
"""


def test_the_import_loads_no_cuda_library() -> None:
    done = run(sys.executable, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


def test_what_was_hidden_comes_back(monkeypatch) -> None:
    seen = []
    monkeypatch.delitem(sys.modules, "decord", raising=False)
    monkeypatch.setitem(sys.modules, "nvidia", compat)
    monkeypatch.setattr(compat, "_decord_is_for_the_cpu", lambda: True)
    monkeypatch.setattr(
        compat.importlib, "import_module", lambda name: seen.append((name, sys.modules["nvidia"]))
    )
    compat.import_decord()
    assert seen == [("decord", None)]
    assert sys.modules["nvidia"] is compat


def test_a_build_for_cuda_keeps_its_libraries(monkeypatch) -> None:
    seen = []
    monkeypatch.delitem(sys.modules, "decord", raising=False)
    monkeypatch.setitem(sys.modules, "nvidia", compat)
    monkeypatch.setattr(compat.metadata, "version", lambda name: "3.4.0+cu129")
    monkeypatch.setattr(
        compat.importlib, "import_module", lambda name: seen.append(sys.modules["nvidia"])
    )
    compat.import_decord()
    assert seen == [compat]
