"""Links, paths and options of commands that the documentation names exist."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from tests.helpers import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("configs/*/*.md")),
]
# The changelog speaks of what was.
PAGES = [page for page in PAGES if page.name != "changelog.md"]
FOLDERS = ("configs", "docs", "requirements", "tests", "tools", "uniadapter", "models")
# Pages tell the reader to write these.
OF_THE_READER = ("configs/mine",)
# Scripts that hand their arguments to another one.
HANDS_ON = {
    "tools/dist_train.sh": "tools/train.py",
    "tools/dist_test.sh": "tools/test.py",
    "tools/slurm_train.sh": "tools/train.py",
    "tools/slurm_test.sh": "tools/test.py",
}


@cache
def tracked() -> set[str]:
    """Files of the repository and the folders that hold them."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("the tests do not run in a git repository")
    files = [Path(line) for line in listing.stdout.splitlines()]
    return {str(path) for file in files for path in (file, *file.parents)}


def spelled_out(path: str) -> list[str]:
    """``a{b,c}`` as ``ab`` and ``ac``."""
    parts = re.split(r"\{([^}]*)\}", path)
    choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def exists(path: str) -> bool:
    """Whether a path from the root, or from the package, is in the repository."""
    if path in tracked() or f"uniadapter/{path}" in tracked():
        return True
    pattern = re.compile(re.escape(path).replace(r"\*", "[^/]*"))
    return any(
        pattern.fullmatch(known) or pattern.fullmatch(known.removeprefix("uniadapter/"))
        for known in tracked()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page: Path):
    missing = []
    text = page.read_text(encoding="utf-8")
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", text):
        target = (page.parent / link).resolve() if link else page
        if not target.exists():
            missing.append(link)
        elif anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            names = [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles]
            if anchor[1:] not in names:
                missing.append(link + anchor)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths(page: Path):
    text = page.read_text(encoding="utf-8")
    quoted = re.findall(r"`([^`\n]+)`", text) + re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    # MMEngine's name of an installed config.
    quoted = [code.replace("uniadapter::", "configs/") for code in quoted]
    named = {
        path.rstrip("./")
        for code in quoted
        for found in re.findall(rf"(?<![\w/.])(?:{'|'.join(FOLDERS)})/[\w./*{{}},-]+", code)
        for path in spelled_out(found.rstrip(",."))
    }
    assert [p for p in sorted(named) if not p.startswith(OF_THE_READER) and not exists(p)] == []


@cache
def source(tool: str) -> str:
    """The source of a tool and of the folder of its parts."""
    text = (ROOT / tool).read_text(encoding="utf-8")
    for folder in sorted((ROOT / tool).parent.glob("*/")):
        if folder.name in text:
            text += "".join(part.read_text(encoding="utf-8") for part in folder.glob("*.py"))
    return text + (source(HANDS_ON[tool]) if tool in HANDS_ON else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_of_commands(page: Path):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    unknown = []
    for tool, arguments in re.findall(r"\b(tools/[\w/]+\.(?:py|sh))([^`#\n]*)", text):
        if (ROOT / tool).is_file():
            options = re.findall(r"(?<![\w-])--?[a-z][\w-]*", arguments)
            unknown += [f"{tool} {o}" for o in options if o not in source(tool)]
    assert unknown == []


@cache
def words() -> set[str]:
    """All words of the repository's Python files."""
    files = [ROOT / path for path in tracked() if path.endswith(".py")]
    return set(re.findall(r"\w+", "".join(file.read_text(encoding="utf-8") for file in files)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_classes(page: Path):
    text = page.read_text(encoding="utf-8")
    named = {
        name
        for code in re.findall(r"`([^`\n]+)`", text)
        for name in re.findall(r"\b[A-Z]+[a-z0-9]+[A-Z]\w*", code)
    }
    assert sorted(named - words()) == []
