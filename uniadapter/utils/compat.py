"""Work-arounds for third-party versions: the only module that names their bugs.

* ``mmpretrain_models``: mmpretrain 1.2.0 beside transformers >= 4.56 and pycocotools. Its
  multimodal folder asks ``transformers.modeling_utils`` for names that are gone, swallows the
  ImportError and then subclasses ``None``, which takes every backbone down with it. mmpretrain
  leaves that folder out when it believes that the multimodal extras are missing, so it is told so
  during the import, from ``import uniadapter`` on (``repair_imports``): an mmpretrain config that
  names our parts asks for mmpretrain's first.
* ``import_decord``: decord2 3.4 loads every CUDA library that pip installed beside torch as soon
  as it is imported, although its plain wheel can't use a GPU. That costs each worker of a data
  loader 0.4 GiB, so those libraries are kept out of its sight during the import.
* ``register_scope``: mmengine 0.10.7 reads configs of ``package::`` only where the package stands
  in a list of its own, and finds its folder with ``pkg_resources``. That module is gone from
  setuptools >= 82, and looks for editable installations in ``site-packages``. The list gets this
  package's name, and the functions ask ``importlib`` instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from importlib import metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_TRANSFORMERS_BREAKS_MMPRETRAIN = (4, 56)
_MODELS = "mmpretrain.models"
_PACKAGE_UTILS = "mmengine.utils.package_utils"


def installed_version(package: str) -> tuple[int, ...] | None:
    """Version of an installed distribution.

    Args:
        package: Name of the distribution, e.g. ``'transformers'``.

    Returns:
        The leading numeric parts of the version, or None when it is not installed.
    """
    try:
        text = metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
    parts: list[int] = []
    for part in text.split("+")[0].split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def import_decord() -> ModuleType:
    """Import decord, without the CUDA libraries when it is a build for the CPU.

    Call it inside the process that decodes, after torch has been imported.

    Raises:
        ImportError: When neither decord2 nor decord is installed.
    """
    name = "decord"
    if name in sys.modules or not _decord_is_for_the_cpu():
        return importlib.import_module(name)
    absent = object()
    hidden = sys.modules.get("nvidia", absent)
    # With this entry a search for the package ends without a result.
    sys.modules["nvidia"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        if hidden is absent:
            del sys.modules["nvidia"]
        else:
            sys.modules["nvidia"] = hidden  # type: ignore[assignment]


def _decord_is_for_the_cpu() -> bool:
    # Wheels for CUDA are marked +cu129 and the like.
    try:
        return "+cu" not in metadata.version("decord2")
    except metadata.PackageNotFoundError:
        return True


def _multimodal_import_breaks() -> bool:
    transformers = installed_version("transformers")
    if transformers is None or installed_version("pycocotools") is None:
        return False
    return transformers[:2] >= _TRANSFORMERS_BREAKS_MMPRETRAIN


def _import_quietly(name: str) -> ModuleType:
    with warnings.catch_warnings():
        # mmcv-lite has no compiled operators, and nothing here uses them.
        warnings.filterwarnings(
            "ignore", message="Fail to import ``MultiScaleDeformableAttention``"
        )
        return importlib.import_module(name)


class _Whole(Loader):
    """Loads ``mmpretrain.models`` as if its multimodal extras were missing."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        dependency: Any = importlib.import_module("mmpretrain.utils.dependency")
        believed = dependency.WITH_MULTIMODAL
        dependency.WITH_MULTIMODAL = False
        try:
            self._loader.exec_module(module)
        finally:
            # Only this import is told so: other code may still ask mmpretrain what is installed.
            dependency.WITH_MULTIMODAL = believed


class _Finder(MetaPathFinder):
    """Finds ``mmpretrain.models``, whoever asks for it, where it would not import as it is."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODELS or not _multimodal_import_breaks():
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Whole(spec.loader)
        return spec


def repair_imports() -> None:
    """See that mmpretrain's models can be imported from here on, by its own configs as well."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def mmpretrain_models() -> ModuleType:
    """Import ``mmpretrain.models`` under every supported version of transformers.

    Returns:
        The module ``mmpretrain.models``. Where transformers >= 4.56 and pycocotools are installed
        it comes without its multimodal models.

    Raises:
        ImportError: If mmpretrain cannot be imported.
    """
    repair_imports()
    return _import_quietly(_MODELS)


def register_scope(scope: str) -> None:
    """Let MMEngine's hub, inferencers and ``_base_ = 'SCOPE::...'`` find a package.

    Args:
        scope: Name of the registries' scope, of the package and of its distribution.
    """
    known: dict[str, str] = importlib.import_module("mmengine.config.utils").MODULE2PACKAGE
    known.setdefault(scope, scope)
    utils = importlib.import_module(_PACKAGE_UTILS)
    for name, function in (("is_installed", _is_installed), ("get_installed_path", _package_path)):
        former = getattr(utils, name)
        if former is function:
            continue
        # Others hold it under its name as well: they imported it from there.
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get(name) is former:
                setattr(module, name, function)


def _is_installed(package: str) -> bool:
    """Whether a distribution or a package of that name is there."""
    return installed_version(package) is not None or _folder(package) is not None


def _package_path(package: str) -> str:
    """Folder of the package that a distribution of that name installs.

    Raises:
        PackageNotFoundError: If there is none.
    """
    folder = _folder(package)
    if folder is None:
        # Such as mmcv-full, whose package is mmcv.
        top_level = metadata.distribution(package).read_text("top_level.txt") or ""
        folder = next((f for f in map(_folder, top_level.split()) if f is not None), None)
    if folder is None:
        raise metadata.PackageNotFoundError(package)
    return folder


def _folder(module: str) -> str | None:
    spec = importlib.util.find_spec(module)
    return None if spec is None or spec.origin is None else os.path.dirname(spec.origin)
