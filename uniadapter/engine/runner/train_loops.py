"""MMEngine's training loops, which also go on from the middle of an epoch.

They have MMEngine's names, so that a config says ``type='EpochBasedTrainLoop'`` or
``by_epoch=True`` as anywhere else. What an uninterrupted run computes is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.runner import BaseLoop
from mmengine.runner import EpochBasedTrainLoop as PlainEpochLoop
from mmengine.runner import IterBasedTrainLoop as PlainIterLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from uniadapter.registry import LOOPS
from uniadapter.utils.generators import (
    generator_states,
    mix_seed,
    seed_generators,
    set_generator_states,
)

from .epoch_lengths import place_of, steps_before, steps_of


class _GoesOn:
    """What both loops know of a resumed run.

    Attributes:
        done: Batches of the running epoch that the run had before it was stopped; 0 from the
            second epoch on.
        states: Of the generators at that moment, see :func:`generator_states`; None if unknown.
            Also while a validation inside an epoch draws from them.
    """

    done: int = 0
    states: dict[str, Any] | None = None

    def go_on(self, done: int, states: dict[str, Any] | None) -> None:
        """Set where in its epoch the run goes on."""
        self.done, self.states = done, states

    def _rest(self, dataloader: DataLoader) -> Iterator[Any]:
        """The batches of a pass over the data that were not there yet.

        Those before are loaded again and thrown away: workers draw their crops one after another,
        so that only a worker that drew the earlier ones draws the later ones as it did.
        """
        batches = iter(dataloader)
        for _ in islice(batches, self.done):
            pass
        if self.done and self.states is not None:
            set_generator_states(self.states)
        self.done, self.states = 0, None
        return batches


@LOOPS.register_module()
class EpochBasedTrainLoop(_GoesOn, PlainEpochLoop):
    """Epochs, the first of which may be half done.

    Attributes:
        epoch_start: Iterations before the running epoch.
    """

    epoch_start = 0

    def run(self) -> Any:
        """Train; the last iteration is that of the last epoch, whatever the length of epochs."""
        self._max_iters = steps_before(self.dataloader, self._max_epochs)
        return super().run()

    def run_epoch(self) -> None:
        """Iterate over the rest of an epoch, which is all of it but after resuming."""
        done = self.done
        self.epoch_start = self._iter - done
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, batch in enumerate(self._rest(self.dataloader), start=done):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


@LOOPS.register_module()
class IterBasedTrainLoop(_GoesOn, PlainIterLoop):
    """Iterations over as many passes over the data as they need.

    Generators are seeded at the start of each pass, so that resuming starts with the pass that was
    running; with an ``InfiniteSampler``, whose order goes on and on, with the first batch of all.

    Args:
        runner: The runner.
        dataloader: The data loader or its config.
        max_iters: Iterations of the training.
        val_begin: The iteration that begins validating.
        val_interval: Iterations between validations.
        dynamic_intervals: Pairs of an iteration and the interval from then on.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict[str, Any],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # Not MMEngine's, which starts the workers here, before anything is seeded or resumed.
        BaseLoop.__init__(self, runner, dataloader)
        if int(max_iters) != max_iters:
            raise ValueError(f"train_cfg.max_iters={max_iters} is a number of iterations.")
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._epoch = self._iter = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False
        metainfo = getattr(self.dataloader.dataset, "metainfo", None)
        if metainfo is not None:
            self.runner.visualizer.dataset_meta = metainfo
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )

    # Of the one epoch that hooks see.
    epoch_start = 0

    def run(self) -> Any:
        """Train, and validate in between."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            batch = next(batches)
            # As a pass starts and after validation, not in every iteration: the prefix cache reads
            # the weights again where the mode is set.
            if not self.runner.model.training:
                self.runner.model.train()
            self.run_iter(batch)
            self._decide_current_val_interval()
            at_interval = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if self.runner.val_loop is not None and self._iter >= self.val_begin and at_interval:
                self.states = generator_states()
                self.runner.val_loop.run()
                set_generator_states(self.states)
                self.states = None
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _batches(self) -> Iterator[Any]:
        endless = isinstance(self.dataloader.sampler, InfiniteSampler)
        number, start, self.done = 0, 0, self._iter
        if not endless:
            number, start, self.done = place_of(self.dataloader, self._iter)
        while True:
            seed_generators(mix_seed(self.runner.seed, number, start, self.runner.rank))
            sampler = self.dataloader.sampler
            if not hasattr(sampler, "set_epoch"):
                sampler = getattr(self.dataloader.batch_sampler, "sampler", None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(number)
            self.runner.model.train()
            yield from self._rest(self.dataloader)
            start += steps_of(self.dataloader, number)
            number += 1
