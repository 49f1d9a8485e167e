"""An optimizer over the trainable parameters alone, each once."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from uniadapter.models.parameter_kinds import KINDS, parameter_kinds
from uniadapter.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor:
    """Builds an optimizer over the parameters that require a gradient.

    MMEngine's own constructor hands frozen parameters to the optimizer too. Here they are left
    out, and a tensor that stands under several names is given once. The optimizer wrapper may be
    any of MMEngine's: plain, with mixed precision, with accumulated gradients.

    Args:
        optim_wrapper_cfg: Config of the wrapper with the ``optimizer`` inside.
        paramwise_cfg: What weight decay is taken off. ``no_decay_norm_bias`` (default False):
            everything of fewer than two dimensions: biases, norms, scales, the temperature.
            ``no_decay_bias`` (default False): biases alone, parameters of the name ``bias``, as
            CLIP4Clip does; norms, embeddings and the temperature decay. ``no_decay_kinds``: a list
            of kinds, see :mod:`uniadapter.models.parameter_kinds`. The default decays all, as the
            recipe states its weight decay without an exception (paper, table 16). And
            ``lr_of``: learning rates of their own for components of the model (``heads``,
            ``temperature``) or its towers (``visual``).

    Raises:
        ValueError: If a key of ``paramwise_cfg`` or a kind is unknown, two rules for the decay are
            set, or the optimizer is missing.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        options = dict(paramwise_cfg or {})
        self.no_decay_norm_bias = bool(options.pop("no_decay_norm_bias", False))
        self.no_decay_bias = bool(options.pop("no_decay_bias", False))
        self.no_decay_kinds = _kinds(options.pop("no_decay_kinds", None) or ())
        self.lr_of = _rates(options.pop("lr_of", None) or {})
        if options:
            raise ValueError(
                f"optim_wrapper.paramwise_cfg has the unknown key(s) {sorted(options)}: "
                "TrainableOptimWrapperConstructor knows `no_decay_norm_bias`, `no_decay_bias`, "
                "`no_decay_kinds` and `lr_of`."
            )
        if self.no_decay_norm_bias and self.no_decay_bias:
            raise ValueError(
                "optim_wrapper.paramwise_cfg: no_decay_norm_bias takes the decay off biases as "
                "well, leave out no_decay_bias."
            )
        if self.no_decay_kinds and (self.no_decay_norm_bias or self.no_decay_bias):
            raise ValueError(
                f"optim_wrapper.paramwise_cfg: no_decay_kinds={list(self.no_decay_kinds)} says it "
                "all: leave no_decay_norm_bias and no_decay_bias out."
            )
        self.optim_wrapper_cfg = copy.deepcopy(dict(optim_wrapper_cfg))
        if not isinstance(self.optim_wrapper_cfg.get("optimizer"), dict):
            raise ValueError(
                "optim_wrapper.optimizer is missing: give a dict such as "
                "dict(type='AdamW', lr=1e-5, weight_decay=0.05)."
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        Args:
            model: The model, wrapped for distributed training or not.

        Returns:
            The optimizer wrapper.

        Raises:
            ValueError: If no parameter of the model is trainable.
        """
        model = getattr(model, "module", model)
        # named_parameters() yields a tensor that stands under several names once.
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not trainable:
            raise ValueError(
                "The model has no trainable parameter: set `model.adapter` or "
                "`model.train_backbone=True`, or use tools/test.py to evaluate it as it is."
            )
        wrapper_cfg = copy.deepcopy(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault("type", "OptimWrapper")
        optimizer_cfg = wrapper_cfg.pop("optimizer")
        spared = self._spared(model, trainable)
        optimizer_cfg["params"] = self._groups(trainable, spared, self._own_rates(model, trainable))
        optimizer = OPTIMIZERS.build(optimizer_cfg)
        count = sum(p.numel() for p in trainable.values())
        print_log(
            f"The optimizer has {len(trainable)} tensors, {count:,} parameters.", logger="current"
        )
        wrapper = OPTIM_WRAPPERS.build(wrapper_cfg, default_args={"optimizer": optimizer})
        # Wrappers of this package weigh accumulated steps by the model's words.
        wrapper.model = model
        return wrapper

    def _own_rates(self, model: Any, trainable: dict[str, nn.Parameter]) -> dict[int, float]:
        """Learning rates of parameters that have one of their own, by identity."""
        if not self.lr_of:
            return {}
        parts = {name: list(tower.parameters()) for name, tower in model.towers().items()}
        parts.update(model.components())
        known = {id(parameter) for parameter in trainable.values()}
        found: dict[int, float] = {}
        for name, rate in self.lr_of.items():
            own = [p for p in parts.get(name, ()) if id(p) in known]
            if not own:
                able = sorted(key for key, part in parts.items() if known & {id(p) for p in part})
                raise ValueError(
                    f"optim_wrapper.paramwise_cfg.lr_of names {name!r}, of which nothing is "
                    f"trained: choose from {able}."
                )
            for parameter in own:
                if found.setdefault(id(parameter), rate) != rate:
                    raise ValueError(
                        f"optim_wrapper.paramwise_cfg.lr_of={self.lr_of} gives {name!r} two rates: "
                        "name a component or its towers, not both."
                    )
        return found

    def _spared(self, model: nn.Module, trainable: dict[str, nn.Parameter]) -> set[str]:
        """Names of the parameters that weight decay is taken off."""
        if self.no_decay_kinds:
            kinds = parameter_kinds(model)
            return {n for n, p in trainable.items() if kinds[id(p)] in self.no_decay_kinds}
        if self.no_decay_bias:
            return {name for name in trainable if name.rpartition(".")[2] == "bias"}
        return {n for n, p in trainable.items() if self.no_decay_norm_bias and p.ndim < 2}

    def _groups(
        self, trainable: dict[str, nn.Parameter], without: set[str], rates: dict[int, float]
    ) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = []
        # The config's own rate first, then the others as they are named.
        for rate in (None, *dict.fromkeys(self.lr_of.values())):
            own = {n: p for n, p in trainable.items() if rates.get(id(p)) == rate}
            extra = {} if rate is None else {"lr": rate}
            decayed = [p for n, p in own.items() if n not in without]
            spared = [p for n, p in own.items() if n in without]
            groups.append({"params": decayed, **extra})
            groups.append({"params": spared, "weight_decay": 0.0, **extra})
        return [group for group in groups if group["params"]]


def _rates(given: Any) -> dict[str, float]:
    """Learning rates by component, checked."""
    good = isinstance(given, dict) and all(
        isinstance(rate, int | float) and not isinstance(rate, bool) and rate >= 0
        for rate in given.values()
    )
    if not good:
        raise ValueError(
            f"optim_wrapper.paramwise_cfg.lr_of={given!r} must be learning rates by component, "
            "such as dict(heads=5e-5)."
        )
    return {name: float(rate) for name, rate in given.items()}


def _kinds(given: Any) -> tuple[str, ...]:
    """Kinds of parameters, checked."""
    if isinstance(given, str) or not set(given) <= set(KINDS):
        raise ValueError(
            f"optim_wrapper.paramwise_cfg.no_decay_kinds={given!r} must be a list of kinds: choose "
            f"from {list(KINDS)}."
        )
    return tuple(given)
