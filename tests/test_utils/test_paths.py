"""The project's own files are found from every folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT
from uniadapter.utils import paths
from uniadapter.utils.paths import find_file, resource, resources_root

VOCABULARY = "configs/tiny/vocab.txt"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_resources_of_a_checkout(elsewhere: Path) -> None:
    assert resources_root() == ROOT
    assert resource(VOCABULARY) == ROOT / VOCABULARY
    assert resource("tools").is_dir()


def test_resources_of_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "uniadapter"
    (package / ".mim").mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    with pytest.raises(FileNotFoundError, match="pip install"):
        resources_root()
    (package / ".mim" / "model-index.yml").write_text("Import: []\n")
    assert resources_root() == package / ".mim"
    assert resource("model-index.yml").is_file()


@pytest.mark.parametrize("name", ["/etc/passwd", "../setup.py", "configs/../../other"])
def test_paths_out_of_the_project_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="from the project's root"):
        resource(name)


def test_a_missing_resource_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no file configs/none.py"):
        resource("configs/none.py")


def test_the_users_file_goes_before_the_projects(elsewhere: Path) -> None:
    assert find_file(VOCABULARY) == ROOT / VOCABULARY
    own = elsewhere / VOCABULARY
    own.parent.mkdir(parents=True)
    own.write_text("own\n")
    assert find_file(VOCABULARY).read_text() == "own\n"
    for unchanged in ("configs/none", "configs/../setup.py", "setup.py", str(ROOT / "none")):
        assert find_file(unchanged) == Path(unchanged)
