"""torch.compile for the model's forward passes."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from uniadapter.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Run the training forward pass through ``torch.compile``.

    MMEngine's key ``compile`` takes the whole training step, its optimizer wrapper included, which
    torch can't trace. Validation and test stay as they are. docs/performance.md has what it gains.

    Args:
        backend: Of ``torch.compile``; ``'inductor'`` needs a C++ compiler.
        dynamic: Whether sizes are symbols from the first call on. None lets torch decide: sizes
            that change are compiled once more.
    """

    def __init__(self, backend: str = "inductor", dynamic: bool | None = None) -> None:
        self.backend = backend
        self.dynamic = dynamic

    def before_train(self, runner: Runner) -> None:
        """Compile; the first steps will be slow.

        Args:
            runner: The runner.

        Raises:
            ValueError: If torch doesn't know the backend.
        """
        known = torch.compiler.list_backends(exclude_tags=())
        if self.backend not in known:
            raise ValueError(f"CompileHook.backend={self.backend!r}: choose from {known}")
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._plain = model.forward
        compiled = torch.compile(model.forward, backend=self.backend, dynamic=self.dynamic)

        def forward(*args: Any, **kwargs: Any) -> Any:
            return (compiled if model.training else self._plain)(*args, **kwargs)

        model.forward = forward
        runner.logger.info(f"The model is compiled with {self.backend}: the first steps are slow")

    def after_train(self, runner: Runner) -> None:
        """Take the plain forward pass again.

        Args:
            runner: The runner.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.forward = self._plain
