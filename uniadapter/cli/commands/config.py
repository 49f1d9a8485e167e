"""Copy a config of the project with the files that it inherits from, to change it.

    uniadapter config uniadapter_msrvtt_r512
    uniadapter config tiny/msrvtt_r32.py --out mine

The copies keep their places below configs/, so that they find one another. A config of a few lines
needs no copy: _base_ = 'uniadapter::uniadapter/msrvtt_r512.py' inherits from the installed one.
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from uniadapter.utils.errors import one_message
from uniadapter.utils.model_index import read_models
from uniadapter.utils.paths import base_files, find_config, resources_root
from uniadapter.utils.safe_io import atomic_write


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter config",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="a model's name or a config of the project")
    parser.add_argument("--out", default=".", help="folder that gets configs/ (the current one)")
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")
    return parser.parse_args(argv)


def project_config(name: str) -> Path:
    """File of a config of the project.

    Args:
        name: A model's name, ``tiny/msrvtt_r32.py`` with ``configs/`` or ``uniadapter::`` in front
            of it or without.

    Raises:
        FileNotFoundError: If there is none.
    """
    configs = resources_root() / "configs"
    for file in (find_config(name).resolve(), configs / name):
        if file.is_file() and configs.resolve() in file.resolve().parents:
            return file.resolve()
    known = {model.name: model.config for model in read_models()}
    if name in known:
        return (resources_root() / known[name]).resolve()
    close = difflib.get_close_matches(name, [*known, *known.values()], n=3)
    hint = f" Did you mean {', '.join(close)}?" if close else " `uniadapter list` names them."
    raise FileNotFoundError(f"The project has no config {name}.{hint}")


def copy(config: Path, folder: Path, force: bool) -> list[Path]:
    """Copy a config of the project and its bases below a folder.

    Args:
        config: The config.
        folder: Gets ``configs/...``.
        force: Overwrite files that differ.

    Returns:
        The copies, the config's first.

    Raises:
        ValueError: If a file with another content is there; nothing is written then.
    """
    root = resources_root().resolve()
    files = [config, *base_files(config)]
    copies = [folder / file.resolve().relative_to(root) for file in files]
    pairs = list(zip(files, copies, strict=True))
    differing = [c for f, c in pairs if c.exists() and c.read_bytes() != f.read_bytes()]
    if differing and not force:
        raise ValueError(f"{differing[0]} is there already and differs: --force overwrites it.")
    for file, target in pairs:
        atomic_write(target, file.read_bytes())
    return copies


def main(argv: list[str]) -> int:
    """Copy as the arguments say, and print the names of the copies, the config's first."""
    args = parse_args(argv)
    with one_message():
        copies = copy(project_config(args.config), Path(args.out), args.force)
    print("\n".join(map(str, copies)))
    return 0
