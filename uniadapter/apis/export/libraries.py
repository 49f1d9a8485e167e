"""Packages that exported files need and the project does without."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_library(name: str) -> Any:
    """Import an optional package when it is needed.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"ONNX files need {name}, which is not installed: pip install 'uniadapter[export]', or "
            "take format='torch'."
        ) from error
