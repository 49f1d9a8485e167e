"""The project's own files are found from every folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT
from uniadapter.utils import paths
from uniadapter.utils.config import load_config
from uniadapter.utils.paths import (
    base_files,
    base_path,
    find_config,
    find_file,
    resource,
    resources_root,
)

VOCABULARY = "configs/tiny/vocab.txt"
CONFIG = "tiny/msrvtt_r32.py"
BASES = {
    "models/blip_tiny_retrieval.py",
    "datasets/toy_world_retrieval.py",
    "schedules/adamw_cosine.py",
    "retrieval_runtime.py",
    "default_runtime.py",
}


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


def test_configs_have_the_names_of_models(elsewhere: Path) -> None:
    file = load_config("uniadapter_msrvtt_r512").filename
    assert file == str(ROOT / "configs/uniadapter/msrvtt_r512.py")
    with pytest.raises(FileNotFoundError, match="Did you mean 'uniadapter_msrvtt_r512'"):
        load_config("uniadapter_msrvt_r512")
    with pytest.raises(FileNotFoundError, match="`uniadapter list` names"):
        load_config("zzz")
    # A file of that name is the user's.
    (elsewhere / "uniadapter_msrvtt_r512").mkdir()
    with pytest.raises(FileNotFoundError, match="uniadapter_msrvtt_r512 does not exist"):
        load_config("uniadapter_msrvtt_r512")


@pytest.mark.parametrize("name", [f"configs/{CONFIG}", f"uniadapter::{CONFIG}"])
def test_configs_of_the_project_have_names(elsewhere: Path, name: str) -> None:
    assert find_config(name) == ROOT / "configs" / CONFIG
    assert load_config(name).model.type == "RetrievalModel"


def test_other_configs_are_left_to_the_reader(elsewhere: Path) -> None:
    for name in ("mine.py", "mmpretrain::resnet/resnet18_8xb32_in1k.py"):
        assert find_config(name) == Path(name)
    with pytest.raises(FileNotFoundError, match="none.py does not exist"):
        load_config("uniadapter::tiny/none.py")


def test_a_config_inherits_from_the_projects_own(elsewhere: Path) -> None:
    mine = elsewhere / "mine.py"
    mine.write_text(f"_base_ = ['uniadapter::{CONFIG}']\ntrain_cfg = dict(max_epochs=3)\n")
    cfg = load_config(mine)
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.model._scope_ == "uniadapter"
    configs = ROOT / "configs"
    assert set(base_files(mine)) == {configs / CONFIG, *(configs / "_base_" / b for b in BASES)}
    # Variables of a base are watched over there as well.
    mine.write_text(f"_base_ = ['uniadapter::{CONFIG}']\ntrain_pipeline = []\n")
    with pytest.raises(ValueError, match="nothing reads `train_pipeline`"):
        load_config(mine)


def test_a_base_of_another_package_is_found() -> None:
    name = "mmpretrain::resnet/resnet18_8xb32_in1k.py"
    assert base_path(name, Path()).is_file()


def test_a_missing_base_is_named(elsewhere: Path) -> None:
    mine = elsewhere / "mine.py"
    mine.write_text("_base_ = 'none.py'\n")
    with pytest.raises(FileNotFoundError, match=r"mine.py: its base none.py"):
        base_files(mine)
