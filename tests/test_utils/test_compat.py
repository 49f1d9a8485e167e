from __future__ import annotations

import sys
import textwrap

from tests.helpers import run
from uniadapter.utils import compat


def test_installed_version_is_a_tuple_of_numbers_or_none():
    version = compat.installed_version("torch")
    assert version is not None
    assert len(version) >= 2
    assert compat.installed_version("no-such-distribution") is None


def test_installed_version_stops_at_a_pre_release(monkeypatch):
    monkeypatch.setattr(compat.metadata, "version", lambda package: "5.1.0rc2+cpu")
    assert compat.installed_version("transformers") == (5, 1)


def test_only_new_transformers_beside_pycocotools_breaks_the_import(monkeypatch):
    versions = {"transformers": "4.55.4", "pycocotools": "2.0.11"}
    monkeypatch.setattr(compat.metadata, "version", lambda package: versions[package])
    assert not compat._multimodal_import_breaks()
    versions["transformers"] = "4.56.0"
    assert compat._multimodal_import_breaks()


def test_models_import_and_the_flag_is_as_before():
    # In a process of its own: the import happens once a process.
    code = """
    import mmpretrain.utils.dependency as dependency
    before = dependency.WITH_MULTIMODAL
    from uniadapter.utils.compat import mmpretrain_models
    assert mmpretrain_models().VisionTransformer.__name__ == "VisionTransformer"
    assert dependency.WITH_MULTIMODAL == before
    """
    done = run(sys.executable, "-W", "error::UserWarning:mmcv", "-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr


def test_others_may_ask_for_the_models_first():
    """A config of mmpretrain's scope with ``custom_imports=dict(imports=['uniadapter'])`` does."""
    code = """
    import sys
    import uniadapter, uniadapter.utils.compat
    from mmengine.registry import MODELS
    assert MODELS.get("mmpretrain.VisionTransformer").__name__ == "VisionTransformer"
    finders = [type(finder).__name__ for finder in sys.meta_path]
    uniadapter.utils.compat.repair_imports()
    assert finders.count("_Finder") == 1 and len(sys.meta_path) == len(finders)
    """
    done = run(sys.executable, "-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr


def test_importing_the_package_is_cheap():
    code = "import sys, uniadapter; assert not {'mmpretrain', 'transformers'} & set(sys.modules)"
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


def test_mmengine_finds_the_package_and_others():
    code = """
    import sys
    sys.modules["pkg_resources"] = None  # As with setuptools >= 82.
    from mmengine.utils import is_installed as early
    import mmengine.config.utils as known
    known.MODULE2PACKAGE["other"] = "kept"
    import uniadapter
    from uniadapter.utils.compat import register_scope
    register_scope("other")
    assert known.MODULE2PACKAGE["other"] == "kept"
    assert known.MODULE2PACKAGE["uniadapter"] == "uniadapter"
    from pathlib import Path
    import mmengine.config.config, mmengine.hub.hub, mmengine.utils
    for module in (mmengine.config.config, mmengine.hub.hub, mmengine.utils):
        path = Path(module.get_installed_path("uniadapter"))
        assert path == Path(uniadapter.__file__).parent, path
    assert mmengine.utils.is_installed("mmpretrain")
    assert not mmengine.utils.is_installed("no-such-package")
    # The distribution's name is another one than the package's.
    assert Path(mmengine.utils.get_installed_path("mmcv-lite")).name == "mmcv"
    try:
        mmengine.utils.get_installed_path("no-such-package")
    except ImportError as error:
        assert "no-such-package" in str(error)
    else:
        raise AssertionError("found what is not there")
    """
    done = run(sys.executable, "-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
