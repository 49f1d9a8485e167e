"""What an installation carries, and that it works without the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helpers import ROOT, tiny_run_cfg, write_run_cfg

PACKED = ("configs", "requirements", "tools", "uniadapter")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
SITE = sysconfig.get_path("purelib")

# Runs in an empty folder: everything has to come from the installation.
CHECKS = """
import sys
from pathlib import Path
import uniadapter
from uniadapter.utils.paths import resources_root
site = Path(sys.argv[1])
assert Path(uniadapter.__file__).parent == site / "uniadapter", uniadapter.__file__
assert resources_root() == site / "uniadapter/.mim"

import mmengine.hub
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
cfg = mmengine.hub.get_config("uniadapter::uniadapter/msrvtt_r512.py")
assert cfg.model.adapter.bottleneck == 512
assert type(mmengine.hub.get_model("uniadapter::tiny/msrvtt_r32.py")).__name__ == "RetrievalModel"

Path("mine.py").write_text("_base_ = 'uniadapter::tiny/msrvtt_r32.py'")
inherited = Config.fromfile("mine.py")
from uniadapter.apis import init_model
model = init_model("mine.py")
assert sum(p.numel() for p in model.parameters() if p.requires_grad) > 0

init_default_scope("mmpretrain")
assert type(MODELS.build(inherited.model)).__name__ == "RetrievalModel"

from mmpretrain.apis.model import ModelHub
ModelHub.register_model_index(resources_root() / "model-index.yml", config_prefix=resources_root())
assert ModelHub.get("uniadapter_msrvtt_r512").config.model.type == "RetrievalModel"

from uniadapter.utils.config import load_config
from uniadapter.utils.model_index import read_models
models = read_models()
assert len(models) > 200
for entry in models[:: len(models) // 20]:
    assert "model" in load_config("uniadapter::" + entry.config.removeprefix("configs/"))
assert str(Path("REPOSITORY")) not in [str(Path(path).resolve()) for path in sys.path]
"""

# A project of another scope, which knows of the package by its config alone.
OTHERS = """
from pathlib import Path
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
Path("theirs.py").write_text("custom_imports = dict(imports=['uniadapter'])")
Config.fromfile("theirs.py")
init_default_scope("mmpretrain")
for name in ("uniadapter.RetrievalModel", "mmpretrain.ImageClassifier"):
    assert MODELS.get(name) is not None, name
"""


def python(*arguments: str | Path, path: tuple[str | Path, ...], cwd: Path, check: bool = True):
    """Run Python without reading ``.pth`` files, which name the repository, and show failures."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-S", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1500)
    assert not check or done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """A checkout with hardly anything in it."""
    root = tmp_path / "checkout"
    for name in ("configs/a", "tools/__pycache__", "uniadapter/.mim", "docs", "tests"):
        (root / name).mkdir(parents=True)
    for name in ("setup.py", "MANIFEST.in", "pyproject.toml", "LICENSE", "uniadapter/version.py"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "requirements", root / "requirements")
    files = ("configs/a/b.py", "configs/a/c.safetensors", "tools/d.sh", "tools/__pycache__/e.pyc")
    for name in (*files, "model-index.yml", "uniadapter/__init__.py", "uniadapter/py.typed"):
        (root / name).write_text(name)
    for name in ("configs", "tools", "model-index.yml"):
        (root / "uniadapter/.mim" / name).symlink_to(Path("../..", name))
    return root


def test_the_build_carries_configs_tools_and_index(skeleton: Path, tmp_path: Path):
    built = tmp_path / "built"
    stale = built / "uniadapter/.mim/configs/gone.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier build")
    python("setup.py", "-q", "build_py", "--build-lib", built, path=(SITE,), cwd=skeleton)
    assert names_below(built) == {
        *("uniadapter/__init__.py", "uniadapter/py.typed", "uniadapter/version.py"),
        *("uniadapter/.mim/configs/a/b.py", "uniadapter/.mim/configs/a/c.safetensors"),
        *("uniadapter/.mim/tools/d.sh", "uniadapter/.mim/model-index.yml"),
    }
    # Copies, not links into the checkout.
    assert not any(path.is_symlink() for path in built.rglob("*"))


@pytest.mark.deep
def test_the_source_distribution_has_what_a_build_needs(skeleton: Path, tmp_path: Path):
    python("setup.py", "-q", "sdist", "-d", tmp_path, path=(SITE,), cwd=skeleton)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"configs/a/c.safetensors", "tools/d.sh", "model-index.yml", "setup.py"} <= names
    assert {"requirements/runtime.txt", "LICENSE", "uniadapter/__init__.py"} <= names
    assert not any(".mim/" in name or name.endswith(".pyc") for name in names)


def test_links_of_the_checkout():
    for name in ("configs", "tools", "model-index.yml"):
        link = ROOT / "uniadapter/.mim" / name
        assert link.resolve() == ROOT / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    root = folder / "checkout"
    for name in PACKED:
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=IGNORED)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, root / file.name)
    options = ("--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check")
    python("-m", "pip", "wheel", "-q", *options, "-w", folder, root, path=(SITE,), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed in, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    options = ("--no-deps", "--no-index", "--disable-pip-version-check", "--target", folder)
    python("-m", "pip", "install", "-q", *options, wheel, path=(SITE,), cwd=folder)
    return folder


@pytest.mark.deep
def test_metadata_and_files_of_the_wheel(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith("dist-info/METADATA")]
        text = archive.read(metadata).decode()
    for line in ("Author: ", "License", "Project-URL: Paper, ", "Requires-Python: >=3.10"):
        assert f"\n{line}" in text
    for extra in ("optional", "tests", "docs"):
        assert f"\nProvides-Extra: {extra}" in text
    assert "\nClassifier: Typing :: Typed" in text
    carried = {name.partition(".mim/")[2] for name in names if "/.mim/" in name}
    expected = {f"{top}/{name}" for top in ("configs", "tools") for name in names_below(ROOT / top)}
    expected = {name for name in expected if "__pycache__" not in name} | {"model-index.yml"}
    assert carried == expected
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.deep
def test_from_an_empty_folder_without_the_repository(site: Path, tmp_path: Path):
    code = CHECKS.replace("REPOSITORY", str(ROOT))
    python("-c", code, site, path=(site, SITE), cwd=tmp_path)
    python("-c", OTHERS, path=(site, SITE), cwd=tmp_path)


@pytest.mark.deep
def test_the_command_trains_and_tests_there(site: Path, tiny_world: Path, tmp_path: Path):
    cfg = write_run_cfg(tmp_path / "run.py", tiny_run_cfg(tiny_world, epochs=1))
    text = cfg.read_text().replace(f"{ROOT}/configs/", "uniadapter::")
    cfg.write_text(text)
    assert "uniadapter::_base_" in text
    command, path = site / "bin/uniadapter", (site, SITE)
    assert "train" in python(command, "--help", path=path, cwd=tmp_path).stdout
    python(command, "train", "run.py", "--nproc-per-node=2", path=path, cwd=tmp_path)
    weights = tmp_path / "work_dirs/run/epoch_1.pth"
    out = ("--out", "metrics.json")
    python(command, "test", "run.py", weights, *out, path=path, cwd=tmp_path)
    assert (tmp_path / "metrics.json").is_file()
    python(command, "verify", "run.py", path=path, cwd=tmp_path)
    python(command, "config", "uniadapter_msrvtt_r512", path=path, cwd=tmp_path)
    assert (tmp_path / "configs/uniadapter/msrvtt_r512.py").is_file()
    missing = python(command, "test", "run.py", "none", path=path, cwd=tmp_path, check=False)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.strip().endswith("error: Checkpoint none does not exist.")
