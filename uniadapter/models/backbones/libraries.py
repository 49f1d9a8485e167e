"""What towers that are made of transformers' classes have in common."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..active_task import remembering


def of_transformers(who: str, module: str = "transformers", least: str = "4.48") -> Any:
    """Transformers, or a module of it, which is imported when the first tower is built.

    Args:
        who (str): What is made of it, for the error, such as ``"CLIP's towers"``.
        module (str): Its name. Defaults to ``'transformers'``.
        least (str): First version of transformers that will do. Defaults to ``'4.48'``.

    Raises:
        ImportError: If transformers is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{who} are made of transformers, which is not installed: pip install "
            f"'transformers>={least}'."
        ) from error


def recompute(module: nn.Module, value: bool) -> None:
    """Let layers of transformers be computed again in the backward pass, or not."""
    parts: Any = module.modules()
    for part in parts:
        if hasattr(part, "gradient_checkpointing"):
            part.gradient_checkpointing = value
            # The reentrant form drops the gradients of adapters that sit behind a frozen input.
            part._gradient_checkpointing_func = partial(
                checkpoint, use_reentrant=False, context_fn=remembering
            )
