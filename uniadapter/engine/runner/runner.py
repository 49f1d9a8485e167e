"""MMEngine's runners, with a look at every data loader before the first step."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from uniadapter.registry import RUNNERS, SCOPE
from uniadapter.utils.errors import raised_on_purpose
from uniadapter.utils.safe_io import load_torch_file

_SCHEDULE = "RankScheduleHook"


class RunnerChecks:
    """What both of MMEngine's runners get in front of them."""

    model: Any

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Register hooks, and the one that an adapter with a schedule needs.

        Args:
            *args: As MMEngine's.
            **kwargs: As MMEngine's.
        """
        super().register_hooks(*args, **kwargs)  # type: ignore[misc]
        model = self.model.module if is_model_wrapper(self.model) else self.model
        scheduled = getattr(getattr(model, "adapter", None), "schedule", None) is not None
        # By name: the room of the hooks imports this one.
        hooks = [type(hook).__name__ for hook in self.hooks]  # type: ignore[attr-defined]
        if scheduled and _SCHEDULE not in hooks:
            self.register_hook({"type": f"uniadapter.{_SCHEDULE}"})  # type: ignore[attr-defined]

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the training loop; ``by_epoch`` stands for a loop of this package.

        Args:
            loop: A loop or its config.

        Returns:
            The loop, which goes on inside an epoch where MMEngine's starts it again.
        """
        if isinstance(loop, dict) and "type" not in loop:
            by_epoch = loop.get("by_epoch", True)
            rest = {key: value for key, value in loop.items() if key != "by_epoch"}
            kind = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
            loop = {"type": f"{SCOPE}.{kind}", **rest}
        return super().build_train_loop(loop)  # type: ignore[misc]

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a data loader; see MMEngine's method.

        Args:
            dataloader: A loader or its config.
            seed: Seed of the sampler and the workers.
            diff_rank_seed: Whether the seeds of the ranks differ.

        Returns:
            The loader.

        Raises:
            ValueError: If it has no batch.
        """
        if isinstance(dataloader, dict):
            parts = dataloader.items()
            dataloader = {key: _plain(key, part) for key, part in parts if key != "_scope_"}
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        # A sampler without an end fills a batch with repeats.
        if not isinstance(loader.sampler, InfiniteSampler) and len(loader) == 0:
            raise ValueError(_no_batch(loader))
        return loader

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint; see MMEngine's method.

        Args:
            filename: File or URL.
            *args: As MMEngine's.
            **kwargs: As MMEngine's.

        Returns:
            What the file holds.

        Raises:
            ValueError: If the file is damaged or of another kind.
        """
        try:
            return super().load_checkpoint(filename, *args, **kwargs)  # type: ignore[misc]
        except Exception as error:
            # Our reader says what is wrong, if it is the file that is at fault.
            if "://" not in str(filename) and not raised_on_purpose(error):
                load_torch_file(filename)
            raise


@RUNNERS.register_module(name="Runner")
class CheckedRunner(RunnerChecks, Runner):
    """MMEngine's ``Runner``; a data loader without a single batch is an error.

    MMEngine trains zero steps on it and saves checkpoints, or fails an assertion of the schedule.
    """


def _plain(key: str, value: Any) -> Any:
    """An entry of a data loader as MMEngine's runner takes it.

    Where a config inherits from ``uniadapter::...``, MMEngine notes the scope in every part with a
    type, and its runner would hand that note to those that are plain functions.
    """
    if key not in ("collate_fn", "worker_init_fn") or not isinstance(value, dict):
        return value
    return {name: item for name, item in value.items() if name != "_scope_"}


def _no_batch(loader: Any) -> str:
    share, ranks = len(loader.sampler), get_world_size()
    shared = f" and is shared by {ranks} processes, {share} each" if ranks > 1 else ""
    return (
        f"{type(loader.dataset).__name__} has {len(loader.dataset)} items{shared}, fewer than one "
        f"batch of {loader.batch_size}, and drop_last=True leaves incomplete batches out: no step "
        f"would be made. Set train_dataloader.batch_size to at most {share}, "
        "train_dataloader.drop_last=False, or give it more data."
    )
