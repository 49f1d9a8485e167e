"""Several adapters on one backbone, by name: one of them acts, the others are kept beside it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from uniadapter import checkpoints
from uniadapter.checkpoints.files import CONFIG_NAME, read_adapter
from uniadapter.checkpoints.plain_config import OF_MODELS, check_data
from uniadapter.checkpoints.state import (
    KEPT_ADAPTERS,
    heads_fingerprint,
)
from uniadapter.registry import MODELS

from .. import sites
from ..adapters.base import Adapter
from ..check_config import check_model_cfg
from ..fillings import Fillings
from ..kept_adapters import (
    KeptAdapter,
    copies_of,
    own_tensors,
    put_tensors,
    running_parts,
    tensors_of,
)
from ..linears import drop_shifts
from ..sites import Places


class NamedAdapters(nn.Module):
    """The part of a task that holds adapters by name; see docs/adapters.md.

    The one that the config names is called ``'default'``. Which one acts is a question of what
    fills the sites, and whose heads are in place: the active adapter has the names that a single
    one has (``adapter.*``), so that it is saved, loaded and trained as if it were alone.
    """

    #: Attributes that an adapter brings beside its tensors; see ``adapter_extras``.
    adapter_attributes: tuple[str, ...] = ()

    adapter: Adapter | None
    data_preprocessor: Any
    #: Whether the rows of a batch may be of several adapters, see :class:`.mixed.MixedRows`.
    takes_rows = False
    _active = "default"
    #: What the first adapter is called; None once it is deleted, whatever is called so later.
    _first: str | None = "default"
    _row_names: list[str] | None = None

    @property
    def active_adapter(self) -> str:
        """Name of the adapter that acts."""
        return self._active

    @property
    def has_first_adapter(self) -> bool:
        """Whether the adapter that acts is the one that the model was built with."""
        return self._active == self._first

    @property
    def active(self) -> str | list[str]:
        """Name of the adapter that acts, or one for every row of the batches to come.

        Rows of several adapters are answered (``mode='predict'`` and ``'tensor'``), not trained. A
        sample that has an ``adapter`` says it for its row.
        """
        return self._active if self._row_names is None else list(self._row_names)

    @active.setter
    def active(self, names: str | Sequence[str]) -> None:
        if isinstance(names, str):
            self.set_adapter(names)
            self._row_names = None
            return
        if not self.takes_rows:
            raise ValueError(f"A {type(self).__name__} takes batches of one adapter alone.")
        for name in names:
            self._check_known(name)
        self._row_names = list(names)

    def check_samples(self, samples: Sequence[Any] | None) -> None:
        """Refuse samples that name another adapter where batches are of one alone.

        Raises:
            ValueError: If the task takes no rows of several adapters, and one names another.
        """
        said = (getattr(sample, "adapter", None) for sample in samples or [])
        names = {str(name) for name in said if name is not None}
        if not self.takes_rows and names - {self._active}:
            raise ValueError(
                f"A {type(self).__name__} takes batches of one adapter alone, and the batch names "
                f"{sorted(names)} where {self._active!r} is active."
            )

    def list_adapters(self) -> list[str]:
        """Names of all adapters, in the order in which they came."""
        return list(self.__dict__.get("_names", [self._active]))

    def add_adapter(self, name: str, cfg: Mapping[str, Any] | None) -> None:
        """Put one more adapter on the backbone; the active one goes on acting.

        Its heads begin as copies of those of the active adapter.

        Args:
            name (str): What it is called from now on.
            cfg (Mapping, optional): Its config, as ``model.adapter``. None: heads of its own on the
                bare backbone.

        Raises:
            ValueError: If the name is taken or can't be one, the config is wrong, or the method
                needs another model.
        """
        self._check_new(name)
        if cfg is not None:
            check_model_cfg(cfg, "adapter")
        self._check_switchable()
        before, names = self._active, self.list_adapters()
        kind = self._trained_kind()
        self._put_aside()
        places = self.places()
        try:
            put_tensors(self, copies_of(self._kept()[before].tensors()))
            if cfg is not None:
                built = MODELS.build(dict(cfg), default_args={"places": places})
                if not isinstance(built, Adapter):
                    raise ValueError(f"adapter.type={cfg['type']!r} is no adapter.")
                self.adapter = built.to(*kind).train(self.training)
            self.check_adapter()
            self.finish()
        except BaseException:
            self._clear(places)
            self._bring(before)
            self._drop_empty()
            raise
        self._active, self._names = name, [*names, name]
        self._put_aside()
        self._bring(before)

    def load_adapter(
        self, folder: str | Path, name: str | None = None, check_backbone: bool = True
    ) -> str:
        """Load the folder of an adapter beside those that are there; the active one goes on acting.

        All that the folder holds comes with it: the method, heads, temperature, an answer list. It
        is safetensors and JSON, from which no code runs.

        Args:
            folder (str | Path): The folder, or the safetensors file in it;
                ``uniadapter.apis.load_adapter`` takes names as well.
            name (str, optional): What it is called from now on. Defaults to the folder's name.
            check_backbone (bool): Refuse an adapter of another backbone. Defaults to True.

        Returns:
            str: The name.

        Raises:
            FileNotFoundError: If one of the two files is missing.
            ValueError: If it does not fit this model or this backbone, or the name is taken.
        """
        path = Path(folder)
        path = path.parent if path.suffix == ".safetensors" else path
        name = path.resolve().name if name is None else name
        self._check_new(name)
        content = read_adapter(path)
        meta = content.meta
        cfg = None
        if meta["method"] != "none":
            cfg = {"type": meta["method"], **meta["options"]}
            check_data(cfg, "adapter", OF_MODELS, path / CONFIG_NAME)
        try:
            self.add_adapter(name, cfg)
        except ImportError:
            raise
        except Exception as error:
            # A stranger's values can make constructors raise anything.
            raise ValueError(f"{path} can't be put on this {type(self).__name__}: {error}") from (
                error
            )
        try:
            with self.adapter_active(name):
                for key in self.adapter_attributes if any(meta.get("extras", {}).values()) else ():
                    setattr(self, key, None)
                self._find_frozen_heads(meta.get("frozen_heads_sha256"))
                checkpoints.load_adapter(self, path, check_backbone, content)
                self.on_weights_loaded()
        except BaseException:
            self.delete_adapter(name)
            raise
        return name

    def set_adapter(self, name: str) -> None:
        """Let another adapter act, with its heads; it is what training trains from now on.

        Args:
            name (str): One of :meth:`list_adapters`.

        Raises:
            ValueError: If there is none of that name, or the active one is merged or disabled.
        """
        self._check_known(name)
        if name == self._active:
            return
        self._check_switchable()
        self._put_aside()
        self._bring(name)

    def delete_adapter(self, name: str) -> None:
        """Forget an adapter. If it is the active one, the first of the others acts.

        Args:
            name (str): One of :meth:`list_adapters`.

        Raises:
            ValueError: If there is none of that name, or it is the only one.
        """
        self._check_known(name)
        if name in (self._row_names or ()):
            raise ValueError(f"model.active names {name!r} for rows: set it to another one first.")
        others = [other for other in self.list_adapters() if other != name]
        if not others:
            raise ValueError(
                f"{name!r} is the only adapter: use adapter_disabled() to run the bare backbone."
            )
        if name == self._active:
            self.set_adapter(others[0])
            print_log(
                f"The active adapter {name!r} is deleted: {others[0]!r} acts from now on.",
                "current",
                logging.WARNING,
            )
        del self._kept()[name]
        self._names = others
        self._first = None if name == self._first else self._first
        self._drop_empty()

    @contextmanager
    def adapter_active(self, name: str) -> Iterator[None]:
        """Let another adapter act inside the context.

        Args:
            name (str): One of :meth:`list_adapters`.
        """
        before = self._active
        self.set_adapter(name)
        try:
            yield
        finally:
            self.set_adapter(before)

    @contextmanager
    def adapter_disabled(self) -> Iterator[None]:
        """Run the bare backbone inside the context: all sites are empty.

        Heads stay those of the active adapter.
        """
        off: AbstractContextManager[None] = nullcontext()
        off = off if self.adapter is None else self.adapter.disabled()
        before, self._disabled = self.__dict__.get("_disabled", False), True
        try:
            # Slots can be filled by hand, too.
            with sites.disabled(self.places()), off:
                yield
        finally:
            self._disabled = before

    def check_adapter(self) -> None:
        """Refuse an adapter that the task has no use for; overridden by subclasses.

        Raises:
            ValueError: If the task can't run the method.
        """

    # What the rest of the task provides.

    def places(self) -> Places:
        """The sites of all roles."""
        raise NotImplementedError

    def finish(self) -> None:
        """Decide what is trained."""
        raise NotImplementedError

    def on_weights_loaded(self) -> None:
        """Called after weights were loaded, for what is derived from them."""

    def _kept(self) -> dict[str, Any]:
        return self._modules[KEPT_ADAPTERS]._modules  # type: ignore[union-attr]

    def _drop_empty(self) -> None:
        if not self._kept():
            del self._modules[KEPT_ADAPTERS]

    def _check_known(self, name: str) -> None:
        known = self.list_adapters()
        if name not in known:
            raise ValueError(f"There is no adapter {name!r}: this model has {known}.")

    def _check_new(self, name: str) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[^./\s]+", name):
            raise ValueError(
                f"{name!r} can't be the name of an adapter: tensors are called by it, so that it "
                "has no dot, slash or blank. Give another one (name=...)."
            )
        if name in self.list_adapters():
            raise ValueError(
                f"There is an adapter {name!r} already: choose another name, or delete_adapter() "
                "it."
            )

    def _check_switchable(self) -> None:
        if getattr(self.adapter, "merged", False):
            raise ValueError(
                f"The adapter {self._active!r} is merged into the backbone, which the others "
                "share: unmerge() it first."
            )
        if self.__dict__.get("_disabled", False):
            raise ValueError("Adapters can't be changed inside of adapter_disabled().")

    def _find_frozen_heads(self, recorded: str | None) -> None:
        """Take heads that a file leaves out from the backbone's, where these were trained since."""
        pretrained, own = getattr(self, "pretrained", None), heads_fingerprint(self)
        if own is not None and own != recorded and pretrained and Path(pretrained).is_file():
            checkpoints.load_pretrained(self, pretrained)

    def _trained_kind(self) -> tuple[torch.device, torch.dtype]:
        """Where the model is, and the numbers of what is trained of it."""
        own = [p for p in self.parameters() if p.is_floating_point()]
        trained = [p.dtype for p in own if p.requires_grad]
        # What is frozen may be stored in half precision, what is trained never is.
        rounded = getattr(self, "frozen_dtype", None) is not None
        return own[0].device, trained[0] if trained else torch.float32 if rounded else own[0].dtype

    def _put_aside(self) -> None:
        """Keep the active adapter beside the model, whose places are empty from now on.

        Tensors of heads stay in place until others come.
        """
        # Which tensors these are is the same for all adapters of a model.
        names = self.__dict__.get("_own_names")
        own = own_tensors(self) if names is None else tensors_of(self, names)
        self._own_names: list[str] | None = list(own)
        kept = KeptAdapter(self.adapter, own)
        places = self.places() if self.adapter is None else self.adapter.places
        kept.fillings = Fillings.taken_from(places, places.switches)
        kept.attributes = {key: vars(self).get(key) for key in self.adapter_attributes}
        for key in running_parts(self._modules):
            kept._modules[key], self._modules[key] = self._modules[key], None
        kept.train(self.training)
        kept.freeze()
        self.adapter = None
        if KEPT_ADAPTERS not in self._modules:
            self.add_module(KEPT_ADAPTERS, nn.Module())
        if not self.__dict__.get("_checks_names"):
            self._checks_names = self.register_load_state_dict_pre_hook(_check_kept)
        self._kept()[self._active] = kept

    def _bring(self, name: str) -> None:
        """Let a kept adapter act in a model whose places are empty."""
        kept = self._kept().pop(name)
        kept.unfreeze()
        put_tensors(self, kept.tensors())
        self.adapter = kept.adapter
        kept.fillings.put_back()
        for key, value in kept.attributes.items():
            setattr(self, key, value)
        for key in running_parts(kept._modules):
            self._modules[key] = kept._modules[key]
        self._active = name

    def _clear(self, places: Places) -> None:
        """Take out what an adapter that could not be built has left."""
        self.adapter = None
        Fillings.taken_from(places, places.switches)
        drop_shifts(self)


def _check_kept(model: Any, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Refuse a state dict that was taken while another adapter was active."""
    start = f"{prefix}{KEPT_ADAPTERS}."
    found = {name.removeprefix(start).partition(".")[0] for name in state if name.startswith(start)}
    own = set(model.list_adapters()) - {model.active_adapter}
    if found and found != own:
        raise ValueError(
            f"This state dict keeps the adapters {sorted(found)} beside its active one, and the "
            f"model {sorted(own)}: add the same adapters, and set_adapter() the one that was "
            "active when it was taken."
        )
