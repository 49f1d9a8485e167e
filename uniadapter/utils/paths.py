"""Where the project's own files lie: configs, tools and the model index.

In a checkout they lie in the root of the repository, in an installation in ``uniadapter/.mim``,
the folder that MMEngine's hub and mim look in. Configs name such a file from that root
(``configs/tiny/vocab.txt``), so what reads one asks ``find_file`` and doesn't depend on the
current folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config

_PACKAGE = Path(__file__).resolve().parents[1]
_INDEX = "model-index.yml"
_SCOPE = "uniadapter"
_CONFIGS, _CHECKPOINTS = "configs", "checkpoints"


def resources_root() -> Path:
    """Folder that holds ``configs/``, ``tools/`` and ``model-index.yml``.

    Returns:
        The root of the repository in a checkout, ``uniadapter/.mim`` in an installation.

    Raises:
        FileNotFoundError: If the package is neither: its files were copied without the others.
    """
    checkout = _PACKAGE.parent
    if all((checkout / name).is_file() for name in ("setup.py", _INDEX)):
        return checkout
    installed = _PACKAGE / ".mim"
    if (installed / _INDEX).is_file():
        return installed
    raise FileNotFoundError(
        f"{_PACKAGE} comes without configs and model index: there is neither {installed / _INDEX} "
        f"nor {checkout / _INDEX}. Install the project with `pip install .` or use its checkout."
    )


def resource(relative: str | os.PathLike[str]) -> Path:
    """Path of a file or folder of the project, whatever the current folder is.

    Args:
        relative: Its path from the root, e.g. ``'configs/tiny/vocab.txt'``.

    Returns:
        The absolute path.

    Raises:
        ValueError: If the path is absolute or leads out of the project.
        FileNotFoundError: If the project has no such file.
    """
    given = Path(relative)
    if given.is_absolute() or ".." in given.parts:
        raise ValueError(f"{relative}: name a project file by its path from the project's root.")
    path = resources_root() / given
    if not path.exists():
        raise FileNotFoundError(f"The project has no file {relative} (looked for {path}).")
    return path


def home() -> Path:
    """Folder of the user's weights: ``$UNIADAPTER_HOME``, or ``~/.cache/uniadapter``.

    Raises:
        FileNotFoundError: If the user has no home.
    """
    named = os.environ.get("UNIADAPTER_HOME") or "~/.cache/uniadapter"
    try:
        return Path(named).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"{named}: this user has no home folder: set UNIADAPTER_HOME to a folder for weights."
        ) from error


def search_folders() -> list[Path]:
    """Folders in which weights are looked for by their relative paths, the first one first.

    Returns:
        :func:`home`, where there is one and this user may look into it, the project's folder, the
        current one.
    """
    folders = [resources_root(), Path.cwd()]
    with suppress(FileNotFoundError):
        own = home().absolute()
        if _may_look(own):
            folders.insert(0, own)
    return list(dict.fromkeys(folders))


def _may_look(folder: Path) -> bool:
    """Whether it can be said what a folder holds: the home of a service may be somebody else's."""
    try:
        (folder / _CHECKPOINTS).stat()
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def find_file(path: str | os.PathLike[str]) -> Path:
    """Resolve a path of a config: a file of the user's, or else one of the project's ``configs/``.

    Args:
        path: Absolute, or relative to the current folder or to the project's root.

    Returns:
        The path as it was given where it exists, the project's file where it is relative, begins
        with ``configs/`` and only the project has it, one of :func:`search_folders` where it begins
        with ``checkpoints/``. A path that leads nowhere comes back unchanged, for the reader's own
        error.
    """
    given = Path(path)
    if given.is_absolute() or given.exists():
        return given
    if given.parts[:1] == (_CHECKPOINTS,):
        places = [folder / given for folder in search_folders()]
        return next((place for place in places if place.exists()), given)
    if given.parts[:1] != (_CONFIGS,):
        return given
    try:
        return resource(given)
    except (FileNotFoundError, ValueError):
        return given


def find_config(name: str | os.PathLike[str]) -> Path:
    """Resolve the name of a config file.

    Args:
        name: A path, see :func:`find_file`, or ``uniadapter::tiny/msrvtt_r32.py``, MMEngine's name
            of a config of the project.

    Returns:
        The path; that of a file that doesn't exist for the reader's own error.
    """
    scope, mark, inner = str(name).partition("::")
    if mark and scope == _SCOPE:
        return resources_root() / _CONFIGS / inner
    return find_file(name)


def base_path(name: str, folder: Path) -> Path:
    """Resolve an entry of a config's ``_base_``.

    Args:
        name: The entry: a path, or ``package::path`` of a config of another package.
        folder: That of the config.

    Returns:
        The file of the base.
    """
    if name.startswith(f"{_SCOPE}::"):
        # MMEngine would look through all metafiles first.
        return find_config(name)
    return Path(Config._get_cfg_path(name, str(folder / "config.py"))[0])


def base_files(config: Path) -> list[Path]:
    """The files that a config inherits from, directly or not, each once.

    Args:
        config: A config file.

    Raises:
        FileNotFoundError: If one of them does not exist.
    """
    found: list[Path] = []
    for name in Config._get_base_files(str(config)):
        base = base_path(name, config.parent).resolve()
        if not base.is_file():
            raise FileNotFoundError(f"{config}: its base {name} does not exist.")
        found += [file for file in (base, *base_files(base)) if file not in found]
    return found
