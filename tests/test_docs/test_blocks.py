"""Every block of code of the pages is run, or says in front of it why not (tests/docs_blocks.py).

Python runs page by page in one namespace; what only assigns values is read as the part of a config
that it is. Commands are held against the parser of the tool that they name, and against the files
and keys of its config; those that nothing speaks against are run as well, in the deep tests.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mmengine.config import Config
from mmengine.registry import WEIGHT_INITIALIZERS, DefaultScope

from tests.docs_blocks import PAGES, REASONS, SHELLS, Block, blocks_of, marks_of
from tests.docs_commands import WrongCommandError, check, commands_of
from tests.helpers import ROOT
from uniadapter.engine.runner.check_options import check_options
from uniadapter.engine.runner.check_values import check_values
from uniadapter.models.build import check_model_cfg
from uniadapter.registry import REGISTRIES
from uniadapter.utils.config import load_config
from uniadapter.utils.options import option_names

#: Tests that run the Python of a page themselves and look at what comes out.
OWN_TESTS = {
    "README.md": "test_python_page.py",
    "docs/inference.md": "test_inference.py",
    "docs/python.md": "test_python_page.py",
    "docs/sharing.md": "test_sharing_page.py",
    "docs/tutorials.md": "test_tutorials.py",
}
CHECKED = ("python", *SHELLS, "json", "yaml")
SHOWN = ("bibtex", "text")


def pages_with(*languages: str) -> list[str]:
    return [page for page in PAGES if any(b.language in languages for b in blocks_of(page))]


def test_marks_stand_before_blocks_and_give_known_reasons():
    wrong = []
    for page in PAGES:
        blocks = list(blocks_of(page))
        wrong += [b.where for b in blocks if b.reason is not None and b.reason not in REASONS]
        wrong += [b.where for b in blocks if b.reason and b.language not in ("python", *SHELLS)]
        wrong += [b.where for b in blocks if (b.config or b.prepare) and b.language != "python"]
        wrong += [b.where for b in blocks if b.language not in (*CHECKED, *SHOWN, "html")]
        found = sum(
            (b.reason is not None) + (b.config is not None) + bool(b.prepare) for b in blocks
        )
        if found != marks_of(ROOT / page):
            wrong.append(f"{page}: a mark that stands before no block")
    assert wrong == []


def test_pages_with_tests_of_their_own_have_them():
    for page, test in OWN_TESTS.items():
        assert Path(page).name in (Path(__file__).parent / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page",
    [
        # It imports mmpretrain's models, all of them.
        pytest.param(page, marks=pytest.mark.deep if page == "docs/installation.md" else ())
        for page in pages_with("python")
        if page not in OWN_TESTS
    ],
)
def test_python(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNIADAPTER_HOME", str(tmp_path / "home"))
    names: dict[str, Any] = {"__name__": page, "folder": tmp_path / "folder"}
    for block in blocks_of(page):
        if block.language != "python" or block.reason:
            continue
        exec(compile(block.prepare, f"{block.where}, in front of it", "exec"), names)
        try:
            if block.is_config:
                read_config(block, tmp_path)
            else:
                exec(compile(block.code, block.where, "exec"), names)
        except Exception as error:
            raise AssertionError(f"{block.where}: {error}") from error


def read_config(block: Block, folder: Path) -> None:
    """Read a block as a config, or as a part of one."""
    if block.config is None and "_base_" not in block.code:
        # Options that stand behind each other in the text of a page are those of a call.
        code = block.code if _parses(block.code) else f"dict({block.code})"
        values: dict[str, Any] = {}
        exec(compile(code, block.where, "exec"), values)
        tree = ast.parse(code).body
        values["shown"] = [eval(ast.unparse(n.value)) for n in tree if isinstance(n, ast.Expr)]
        check_types({k: v for k, v in values.items() if k != "__builtins__"}, block.where)
        return
    # Beside the project's own folders, as configs/mine/own.py or own.py.
    own = folder / "configs/mine/own.py" if "'../" in block.code else folder / "own.py"
    if not own.parent.parent.joinpath("configs").is_dir():
        (folder / "configs/mine").mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "configs").iterdir():
        if not (folder / "configs" / path.name).exists():
            (folder / "configs").mkdir(exist_ok=True)
            (folder / "configs" / path.name).symlink_to(path)
    own.parent.mkdir(parents=True, exist_ok=True)
    head = f"_base_ = {str(ROOT / block.config)!r}\n" if block.config else ""
    own.write_text(head + block.code, encoding="utf-8")
    check_config(load_config(own), model="model" in block.code)


def check_config(cfg: Config, model: bool) -> None:
    """Check a whole config as a run of it would, its model where the block says something of it."""
    if model:
        check_model_cfg(cfg.model)
    check_options(cfg)
    check_values(cfg)


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def check_types(value: Any, where: str) -> None:
    """Types are registered and take the options beside them."""
    if isinstance(value, dict):
        for entry in value.values():
            check_types(entry, where)
        # Readers of videos, of features and the like have lower-case names and no registry.
        if isinstance(value.get("type"), str) and not value["type"].islower():
            found = registered(value["type"])
            assert found is not None, f"{where}: there is no {value['type']}"
            known = option_names(found)
            unknown = set() if known is None else {*value} - {"type", "_delete_", "_scope_"} - known
            assert not unknown, f"{where}: {value['type']} takes no {sorted(unknown)}"
    elif isinstance(value, list | tuple):
        for entry in value:
            check_types(entry, where)


def registered(name: str) -> Any:
    """What has this name in one of the registries, MMEngine's and mmpretrain's included."""
    with DefaultScope.overwrite_default_scope("uniadapter"):
        for registry in (*REGISTRIES, WEIGHT_INITIALIZERS):
            if (found := registry.get(name)) is not None:
                return found
    return pytest.importorskip("mmpretrain.registry").MODELS.get(name)


@pytest.mark.parametrize("page", pages_with("json", "yaml"))
def test_data(page: str):
    for block in blocks_of(page):
        if block.language == "yaml":
            assert yaml.safe_load(block.code), block.where
        elif block.language == "json":
            lines = block.code.splitlines()
            whole = [block.code] if not lines[0].endswith("}") else lines
            assert all(json.loads(line) for line in whole), block.where


@pytest.mark.parametrize("page", pages_with(*SHELLS))
def test_commands(page: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    wrong = []
    for block in blocks_of(page):
        for words in commands_of(block.code) if block.language in SHELLS else ():
            try:
                check(words)
            except WrongCommandError as error:
                wrong.append(f"{block.where}: {error}")
    assert wrong == []


@pytest.mark.parametrize(
    "command",
    [
        "python tools/nothing.py",
        "python tools/train.py configs/nothing.py",
        "python tools/train.py configs/tiny/msrvtt_r32.py --worker 3",
        "python tools/train.py configs/tiny/msrvtt_r32.py --cfg-options model.adaptor.rank=3",
        "python tools/visualization/draw_rankings.py ranking.json",
        "tools/dist_train.sh configs/tiny/msrvtt_r32.py",
        "tools/dist_test.sh configs/tiny/msrvtt_r32.py 8",
        "bash tools/run_tests.sh --everything",
        "uniadapter trian configs/tiny/msrvtt_r32.py",
        "uniadapter train uniadapter_msrvtt_r513 --nproc-per-node 8",
        "uniadapter list --tusks",
        "pip install '.[nothing]'",
        "pytest tests/test_nothing.py",
        "curl https://example.org",
    ],
)
def test_a_command_that_cannot_be_typed_is_found(command: str):
    (words,) = commands_of(command)
    with pytest.raises(WrongCommandError):
        check(words)


def free_blocks() -> Iterator[str]:
    """Pages with commands that nothing speaks against."""
    for page in PAGES:
        if any(b.language in SHELLS and not b.reason for b in blocks_of(page)):
            yield page


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, to write into."""
    folder = tmp_path_factory.mktemp("checkout")
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listing.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.mark.deep
@pytest.mark.parametrize("page", list(free_blocks()))
def test_commands_run(page: str, checkout: Path):
    programs = checkout / "programs"
    programs.mkdir(exist_ok=True)
    for name, arguments in {"python": "", "uniadapter": "-m uniadapter "}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(checkout)}
    for block in blocks_of(page):
        if block.language in SHELLS and not block.reason:
            command = ["bash", "-euo", "pipefail", "-c", block.code]
            done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
            lacking = re.search(r"needs the package ([\w-]+), which is not installed", done.stderr)
            if lacking:
                pytest.skip(f"{page} takes the package {lacking[1]}")
            assert done.returncode == 0, f"{block.where}: {done.stderr[-2000:]}"
