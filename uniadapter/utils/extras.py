"""Packages that an extra of the package brings, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class MissingExtraError(ImportError):
    """A package that an extra brings can't be imported."""


def import_extra(module: str, extra: str, what: str) -> Any:
    """Import a module of a package that not every installation has.

    Args:
        module: Such as ``'pyarrow.parquet'``.
        extra: The extra that installs its package, such as ``'corpus'``.
        what: What needs it, the subject of the error's sentence: ``'an index of kind hnsw'``.

    Returns:
        The module.

    Raises:
        MissingExtraError: If it can't be imported; it names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs {module.partition('.')[0]}, which can't be imported ({error}): "
            f"pip install 'uniadapter[{extra}]'."
        ) from error
