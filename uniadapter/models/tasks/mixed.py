"""Batches whose rows are of several adapters: each row as if its adapter were the active one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import torch

from ..fast.prefix import Prefix
from ..fast.prefix_identity import frozen_layers, frozen_tokens
from ..tapped import TappedRole
from .named import NamedAdapters

Rows = dict[str, list[int]]


class MixedRows(NamedAdapters):
    """The part of a task that answers rows of several adapters in one call.

    Rows are grouped by name and each group runs as a batch of its own; what is frozen in all of
    them below the first filled place of the visual tower runs once for all rows.
    """

    takes_rows = True

    def rows_of(self, samples: Sequence[Any] | None, count: int, mode: str) -> Rows | None:
        """The rows of a batch by the name of their adapter.

        A sample says it in ``adapter``; without that it is what :attr:`active` has for the row.

        Args:
            samples (Sequence, optional): The batch's; those that were skipped have no row.
            count (int): Rows of the batch.
            mode (str): ``'loss'``, ``'tensor'`` or ``'predict'``.

        Returns:
            dict: None where all are of the active adapter.

        Raises:
            ValueError: If a name is unknown, there is not one a row, or several are to be trained.
        """
        seen = [sample for sample in samples or [] if not getattr(sample, "skipped", False)]
        said = [getattr(sample, "adapter", None) for sample in seen]
        names = self._told(said)
        if not names or not count:
            return None
        if len(names) != count:
            raise ValueError(f"A batch of {count} rows needs as many adapters, got {len(names)}.")
        found: Rows = {}
        for row, name in enumerate(names):
            self._check_known(name)
            found.setdefault(name, []).append(row)
        if found.keys() == {self._active}:
            return None
        if mode == "loss":
            raise ValueError(
                f"A step trains the active adapter ({self._active!r}), and the batch is of "
                f"{list(found)}: set_adapter() one of them, and give it its own rows."
            )
        return found

    def _told(self, said: list[str | None]) -> list[str]:
        """Names of rows; what no sample says is as :attr:`active` has it. None are told: []."""
        # Without samples, of rows that are none, nothing is said.
        rest = self._row_names or ([self._active] * len(said) if any(said) else [])
        if not any(said) or (len(rest) != len(said) and None in said):
            return rest
        return [own or name for own, name in zip_longest(said, rest[: len(said)])]

    def by_adapter(
        self,
        rows: Rows,
        tensors: Mapping[str, Any],
        samples: Sequence[Any] | None,
        mode: str,
        **whole: Any,
    ) -> Any:
        """Run a batch group by group, without a graph.

        With one, only what the adapter trains that is active before would get its gradients: the
        others stand by, frozen. So a backward pass through the result is an error.

        Args:
            rows (dict): See :meth:`rows_of`.
            tensors (Mapping): Arguments of ``forward`` with a row a medium; None where absent.
            samples (Sequence, optional): The batch's samples.
            mode (str): ``'tensor'`` or ``'predict'``.
            **whole (Any): Arguments that every group is given.

        Returns:
            dict | Tensor: What ``forward`` gives, in the order of the rows; None of samples, which
            hold what was predicted.

        Raises:
            ValueError: If what adapters give has several shapes.
        """
        model: Any = self
        seen = [sample for sample in samples or [] if not getattr(sample, "skipped", False)]
        before, names, parts = self._active, self._row_names, []
        # A group's rows are all of the adapter that acts then.
        self._row_names = None
        try:
            shared = self._shared_prefix(list(rows), tensors["pixels"])
            for name, index in rows.items():
                self.set_adapter(name)
                some: dict[str, Any] = {
                    key: None if tensor is None else tensor[index]
                    for key, tensor in tensors.items()
                }
                of_group = [seen[row] for row in index] if seen else None
                with torch.no_grad(), self._continued(some["pixels"], shared, index):
                    parts.append(model(**some, **whole, data_samples=of_group, mode=mode))
        finally:
            self.set_adapter(before)
            self._row_names = names
        order = [row for index in rows.values() for row in index]
        return None if mode == "predict" else _merged(parts, order)

    def pairs_by_adapter(
        self,
        rows: Rows,
        media: dict[str, Any],
        texts: dict[str, Any],
        samples: Sequence[Any] | None,
        mode: str,
    ) -> Any:
        """Media of several adapters with texts: similarities are to all texts as each reads them.

        Args:
            rows (dict): See :meth:`rows_of`.
            media (dict): Arguments of ``forward`` with a row a medium.
            texts (dict): Those with a row a text.
            samples (Sequence, optional): The batch's samples.
            mode (str): ``'tensor'`` or ``'predict'``.

        Raises:
            ValueError: If tensors are wanted and there is not one text a medium.
        """
        if mode == "predict":
            self.by_adapter(rows, media, samples, mode, **texts)
            return [s for s in samples or [] if not getattr(s, "skipped", False)]
        count = len(media["pixels"])
        if any(len(text) != count for text in texts.values()):
            raise ValueError(
                f"Rows of several adapters need one text a medium: {count} media, "
                f"{len(texts['input_ids'])} texts."
            )
        return self.by_adapter(rows, {**media, **texts}, None, mode)

    def _shared_prefix(self, names: list[str], pixels: torch.Tensor) -> Prefix | None:
        """What the visual tower makes of all pictures before an adapter acts; None: too little."""
        model: Any = self
        if not model.execution.shares_frozen_layers:
            return None
        depths = []
        for name in names:
            self.set_adapter(name)
            if not isinstance(model.role("visual"), TappedRole) and hasattr(model.visual, "embed"):
                depths.append(frozen_layers(model.visual))
        if len(depths) < 2 or not min(depths):
            return None
        tokens = frozen_tokens(model.visual, pixels.flatten(0, 1), min(depths))
        return Prefix(min(depths), tokens.unflatten(0, pixels.shape[:2]), None)

    @contextmanager
    def _continued(
        self, pixels: torch.Tensor, shared: Prefix | None, index: list[int]
    ) -> Iterator[None]:
        """Let a group go on from what was computed of all."""
        model: Any = self
        if shared is None or isinstance(model.role("visual"), TappedRole):
            yield
            return
        prefix = shared._replace(x=shared.x[index].flatten(0, 1))
        with model.execution.continued(pixels, prefix):
            yield


def _merged(parts: list[Any], order: list[int]) -> Any:
    """Tensors of groups, or dictionaries of them, as one with the rows in their order."""
    if isinstance(parts[0], dict):
        return {key: _merged([part[key] for part in parts], order) for key in parts[0]}
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError(
            f"These adapters give tensors of shapes {[tuple(part.shape) for part in parts]}, which "
            "one tensor can't hold: call the model with the rows of one at a time."
        )
    places = torch.empty(len(order), dtype=torch.long)
    places[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[places.to(parts[0].device)]
