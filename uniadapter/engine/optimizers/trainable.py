"""An optimizer over the trainable parameters alone, each once."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

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
            CLIP4Clip does; norms, embeddings and the temperature decay. The default decays all, as
            the recipe states its weight decay without an exception (paper, table 16).

    Raises:
        ValueError: If a key of ``paramwise_cfg`` is unknown, both are set, or the optimizer is
            missing.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        options = dict(paramwise_cfg or {})
        self.no_decay_norm_bias = bool(options.pop("no_decay_norm_bias", False))
        self.no_decay_bias = bool(options.pop("no_decay_bias", False))
        if options:
            raise ValueError(
                f"optim_wrapper.paramwise_cfg has the unknown key(s) {sorted(options)}: "
                "TrainableOptimWrapperConstructor knows `no_decay_norm_bias` and `no_decay_bias`."
            )
        if self.no_decay_norm_bias and self.no_decay_bias:
            raise ValueError(
                "optim_wrapper.paramwise_cfg: no_decay_norm_bias takes the decay off biases as "
                "well, leave out no_decay_bias."
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
        optimizer_cfg["params"] = self._groups(trainable)
        optimizer = OPTIMIZERS.build(optimizer_cfg)
        count = sum(p.numel() for p in trainable.values())
        print_log(
            f"The optimizer has {len(trainable)} tensors, {count:,} parameters.", logger="current"
        )
        wrapper = OPTIM_WRAPPERS.build(wrapper_cfg, default_args={"optimizer": optimizer})
        # Wrappers of this package weigh accumulated steps by the model's words.
        wrapper.model = model
        return wrapper

    def _groups(self, trainable: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        if not (self.no_decay_norm_bias or self.no_decay_bias):
            return [{"params": list(trainable.values())}]
        decayed: list[nn.Parameter] = []
        spared: list[nn.Parameter] = []
        for name, parameter in trainable.items():
            bias = name.rpartition(".")[2] == "bias"
            spares = bias if self.no_decay_bias else parameter.ndim < 2
            (spared if spares else decayed).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": spared, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]
