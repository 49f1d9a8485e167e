"""MMEngine's ``FlexibleRunner``, whose strategy says how a model is spread over devices."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine
from mmengine._strategy import DDPStrategy, SingleDeviceStrategy
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import FlexibleRunner
from mmengine.utils import get_git_hash
from torch.nn.parallel import DistributedDataParallel

from uniadapter.registry import RUNNERS
from uniadapter.utils.leftovers import temporary_path
from uniadapter.utils.safe_io import writing

from .runner import RunnerChecks

# Strategies whose checkpoint is one file, written by one process.
_ONE_FILE = (SingleDeviceStrategy.save_checkpoint, DDPStrategy.save_checkpoint)


@RUNNERS.register_module(name="FlexibleRunner")
class CheckedFlexibleRunner(RunnerChecks, FlexibleRunner):
    """MMEngine's ``FlexibleRunner`` in the order of its ``Runner``.

    Hooks, loops, checkpoints and resuming of this package work under it as they do under
    :class:`~uniadapter.engine.runner.CheckedRunner`, with the same numbers:

    * the model is built with the runner, so that weights can be loaded into it before a test;
    * ``before_run`` comes before a file is read, as hooks choose and check the file there;
    * a checkpoint has the epoch that the hook says, the names of the model without its wrapper, and
      is renamed into place when it is whole;
    * testing alone does not initialise weights, unless ``init_weights_for_test_or_val=True``;
    * ``compile`` is read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._begun = False
        super().__init__(*args, **kwargs)

    @classmethod
    def from_cfg(cls, cfg: Config | ConfigDict) -> CheckedFlexibleRunner:
        """Build the runner of a config.

        Args:
            cfg: As MMEngine's, and ``compile``, which its method leaves out.

        Returns:
            The runner.
        """
        cfg.setdefault("env_cfg", {"dist_cfg": {"backend": "nccl"}})
        runner = super().from_cfg(cfg)
        runner._compile = cfg.get("compile", False)
        return runner

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Build the model, then register hooks, which may depend on it.

        Args:
            *args: As MMEngine's.
            **kwargs: As MMEngine's.
        """
        # The place, and so the state of the generators, in which MMEngine's Runner builds it.
        self.model = self.strategy.build_model(self.model)
        super().register_hooks(*args, **kwargs)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build an optimizer wrapper by the strategy; hooks ask the runner.

        Args:
            optim_wrapper: A wrapper, which is given back, or its config.

        Returns:
            The wrapper.
        """
        if isinstance(optim_wrapper, BaseOptimWrapper):
            return optim_wrapper
        return self.strategy.build_optim_wrapper(optim_wrapper, self.model)

    def test(self) -> dict[str, float]:
        """Test the weights that the model has.

        Returns:
            The metrics.
        """
        self.cfg._cfg_dict.setdefault("init_weights_for_test_or_val", False)
        return super().test()

    def val(self) -> dict[str, float]:
        """Validate the weights that the model has.

        Returns:
            The metrics.
        """
        self.cfg._cfg_dict.setdefault("init_weights_for_test_or_val", False)
        return super().val()

    def load_or_resume(self) -> None:
        """Let the hooks choose and check a file, then read it."""
        super().call_hook("before_run")
        self._begun = True
        super().load_or_resume()
        if isinstance(self.optim_wrapper, BaseOptimWrapper) and hasattr(
            self.optim_wrapper, "initialize_count_status"
        ):
            # Of each wrapper where there are several, which the strategy leaves out.
            loop = self.train_loop
            self.optim_wrapper.initialize_count_status(self.model, loop.iter, loop.max_iters)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call a method of all hooks; ``before_run`` once a run.

        Args:
            fn_name: The method.
            **kwargs: What it is given.
        """
        if fn_name == "before_run" and self._begun:
            self._begun = False
            return
        super().call_hook(fn_name, **kwargs)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        """Save a checkpoint by the strategy.

        Args:
            out_dir: Folder.
            filename: Name in it.
            file_client_args: Not for a strategy, which writes to the file system.
            save_optimizer: As MMEngine's.
            save_param_scheduler: As MMEngine's.
            meta: What is said of the file; ``epoch`` and ``iter`` of it are kept.
            by_epoch: Whether an epoch has ended that is not counted yet, else an iteration.
            backend_args: As ``file_client_args``; ``atomic_local`` is what happens anyway.
        """
        done = {"epoch": self.epoch + by_epoch, "iter": self.iter + (not by_epoch)}
        meta = {**done, **(meta or {})}
        meta.update(
            cfg=self.cfg.pretty_text,
            experiment_name=self.experiment_name,
            # As the other runner's; the strategy adds `mmengine`.
            mmengine_version=mmengine.__version__ + get_git_hash(),
        )
        if hasattr(self.train_dataloader.dataset, "metainfo"):
            meta.update(dataset_meta=self.train_dataloader.dataset.metainfo)
        self._write(
            Path(out_dir) / filename,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            extra_ckpt={"meta": meta, "message_hub": self.message_hub.state_dict()},
            callback=self._finish_checkpoint,
        )

    def _finish_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(self.model, DistributedDataParallel):
            # The strategy saves the wrapper's names.
            checkpoint["state_dict"] = OrderedDict(
                (name.removeprefix("module."), tensor)
                for name, tensor in checkpoint["state_dict"].items()
            )
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)

    def _write(self, path: Path, **content: Any) -> None:
        save: Callable[..., None] = self.strategy.save_checkpoint
        if getattr(save, "__func__", save) not in _ONE_FILE:
            save(filename=str(path), **content)
            return
        temporary = temporary_path(path)
        try:
            with writing(path):
                save(filename=str(temporary), **content)
                if is_main_process():
                    with open(temporary, "rb+") as file:
                        os.fsync(file.fileno())
                    os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
