"""Methods of the library peft on the towers' matrices, by one line of a config."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.options import near_name

from ..linears import LinearSite
from ..sites import Places
from .lora import LinearAdapter
from .rank_schedule import RankSchedule

_NAME = "default"
# What peft chooses modules by, which is chosen here by targets, roles and layers.
_CHOSEN_HERE = (
    "target_modules",
    "target_parameters",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "modules_to_save",
    "inference_mode",
    "base_model_name_or_path",
    "task_type",
)
# AdaLoRA's schedule of ranks, and what goes with it.
_SCHEDULE = (
    "target_r",
    "tinit",
    "tfinal",
    "deltaT",
    "beta1",
    "beta2",
    "total_step",
    "orth_reg_weight",
)


def _peft() -> Any:
    """The module of peft that knows its methods, imported when the first adapter is built."""
    try:
        import peft.mapping
    except ImportError as error:
        raise ImportError(
            "PeftAdapter is peft's methods, and peft is not installed: pip install peft."
        ) from error
    return peft.mapping


class SiteLinear(nn.Linear):
    """A matrix as peft sees it: an ``nn.Linear`` whose weight and bias are the tower's.

    Nothing is registered here, so nothing of the tower is saved or counted twice.

    Args:
        site (LinearSite): The matrix.
    """

    def __init__(self, site: LinearSite) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = site.in_features, site.out_features
        self.site = site
        self.given: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The tower's."""
        return self.site.weight

    @property
    def bias(self) -> torch.Tensor | None:  # type: ignore[override]
        """The tower's."""
        return self.site.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The frozen output of ``x``, taken from the tower where it has just computed it."""
        if self.given is not None and x is self.given[0]:
            return self.given[1]
        return F.linear(x, self.weight, self.bias)


class _Use:
    """Lets a layer of peft continue from what the tower has computed."""

    def __init__(self, layer: Any, base: SiteLinear) -> None:
        self.layer, self.base = layer, base

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        self.base.given = x, out
        try:
            return self.layer(x)
        finally:
            self.base.given = None


@MODELS.register_module()
class PeftAdapter(LinearAdapter):
    """Any method of peft that works on linear layers: DoRA, IA3, VeRA, AdaLoRA, LoHa ...

    .. code-block:: python

        adapter=dict(_delete_=True, type='PeftAdapter', config=dict(peft_type='IA3'),
                     targets=['k', 'v', 'fc2'], feedforward=['fc2'])

    peft's layers stand in the adapter, not in the towers, under the names of
    :func:`~.lora.matrices`; towers, their files and fingerprints stay as they are. What a method
    derives from the weights it starts on (DoRA's magnitudes) is derived anew when a backbone is
    loaded before the method is trained. AdaLoRA is its ``P E Q`` of constant rank ``init_r``, until
    a field of its schedule is given (``target_r``, ``tinit``, ``tfinal``, ``deltaT``, ``beta1``,
    ``beta2``, ``total_step`` or ``orth_reg_weight``): then ranks are taken away in training, as
    :class:`.rank_schedule.RankSchedule` says, and its penalty is part of the loss.

    Args:
        places (Places): The model's sites.
        config (dict): ``peft_type`` and the fields of peft's config, but for those that choose
            modules.
        targets (list[str]): Any of ``q``, ``k``, ``v``, ``o``, ``fc1``, ``fc2``. Defaults to
            ``['q', 'v']``.
        feedforward (list[str], optional): For IA3: which of them are scaled at their input.
            Defaults to None, none.
        roles (list[str], optional): Runs that are adapted. Defaults to None, all.
        layers (list[int] | str, optional): Adapted layers, counted from 1. Defaults to None, all.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If a field is unknown or nothing would read it, or peft can't put the method on
            a linear layer without changing its weights.
    """

    def __init__(
        self,
        places: Places,
        config: Mapping[str, Any],
        targets: Iterable[str] = ("q", "v"),
        feedforward: Iterable[str] | None = None,
        roles: Iterable[str] | None = None,
        layers: Iterable[int] | str | None = None,
    ) -> None:
        options = {
            "config": dict(config),
            "targets": list(targets),
            "feedforward": None if feedforward is None else list(feedforward),
            "roles": None if roles is None else list(roles),
            "layers": layers if layers is None or isinstance(layers, str) else list(layers),
        }
        super().__init__(places, options)
        self._check(self._config_class(config), config)
        # Random tensors are the same when they are made anew.
        self._generator = torch.get_rng_state()
        tuner = self._inject()
        self.layers = tuner.model
        if config.get("peft_type") == "ADALORA" and set(config) & set(_SCHEDULE):
            self.schedule = RankSchedule(tuner, _NAME, "total_step" in config)
        for name, site in self._sites.items():
            layer: Any = self.layers.get_submodule(name)
            site.fill(_Use(layer, layer.base_layer))
        self._trained = {n for n, p in self.layers.named_parameters() if p.requires_grad}
        self._start = self._versions()
        self.register_load_state_dict_post_hook(_start_anew)

    @staticmethod
    def _config_class(config: Mapping[str, Any]) -> Any:
        """Peft's config class of a method, whose fields the config's are."""
        peft = _peft()
        configs = peft.PEFT_TYPE_TO_CONFIG_MAPPING
        # Others (prompts, mixtures) are given no modules.
        kinds = {
            getattr(kind, "value", kind): configs[kind]
            for kind in peft.PEFT_TYPE_TO_TUNER_MAPPING
            if "target_modules" in {field.name for field in dataclasses.fields(configs[kind])}
        }
        name = config.get("peft_type")
        if name not in kinds:
            raise ValueError(
                f"adapter.config.peft_type={name!r} is none of peft's methods on layers: choose "
                f"from {sorted(kinds)}."
            )
        found = kinds[name]
        known = {field.name for field in dataclasses.fields(found)} - set(_CHOSEN_HERE)
        for key in config:
            if key in (*_CHOSEN_HERE, "feedforward_modules"):
                raise ValueError(
                    f"adapter.config.{key}: modules are chosen by adapter.targets, "
                    "adapter.feedforward, adapter.roles and adapter.layers."
                )
            if key.startswith("megatron"):
                # One of these is the name of a module, which peft would import.
                raise ValueError(
                    f"adapter.config.{key}: the towers have no layers of Megatron, leave it out."
                )
            if key not in known:
                raise ValueError(
                    f"adapter.config.{key} is no field of peft's {found.__name__}."
                    f"{near_name(key, known)}"
                )
        return found

    def _check(self, found: Any, config: Mapping[str, Any]) -> None:
        """Refuse what would be left out without a word."""
        fields = {field.name for field in dataclasses.fields(found)}
        if (self.options["feedforward"] is not None) != ("feedforward_modules" in fields):
            needs = "needs" if "feedforward_modules" in fields else "has no"
            raise ValueError(f"adapter.feedforward: {config['peft_type']} {needs} such modules.")
        extra = set(self.options["feedforward"] or ()) - set(self.options["targets"])
        if extra:
            raise ValueError(f"adapter.feedforward={sorted(extra)} are none of adapter.targets.")
        unread = {"r", "rank_pattern"} & set(config) if config["peft_type"] == "ADALORA" else set()
        if unread:
            raise ValueError(
                f"adapter.config: AdaLoRA does not read {sorted(unread)}: it begins with the rank "
                "init_r, and its schedule decides which ranks stay."
            )
        start = config.get("init_lora_weights", True)
        if isinstance(start, str) and start not in ("gaussian", "orthogonal"):
            raise ValueError(
                f"adapter.config.init_lora_weights={start!r} takes a part out of the frozen "
                "weights, which other models use as well: choose True, 'gaussian' or 'orthogonal'."
            )

    def _inject(self) -> Any:
        """Peft's model of a module that has nothing but the matrices, and peft's layers there."""
        holder: Any = nn.Module()
        for name, site in self._sites.items():
            holder.add_module(name, SiteLinear(site))
        options, found = self.options, self._config_class(self.options["config"])
        kwargs = {key: v for key, v in options["config"].items() if key != "peft_type"}
        names = list(self._sites)
        if options["feedforward"] is not None:
            ends = tuple(f"_{name}" for name in options["feedforward"])
            kwargs["feedforward_modules"] = [name for name in names if name.endswith(ends)]
        if "save_projection" in {field.name for field in dataclasses.fields(found)}:
            # Frozen random matrices that come from a seed: it stands in the options.
            kwargs.setdefault("save_projection", False)
        if options["config"]["peft_type"] == "ADALORA":
            # How long a training is it does not know yet, and peft wants a number.
            kwargs.setdefault("total_step", kwargs.get("tinit", 0) + kwargs.get("tfinal", 0) + 1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Specified to not save")
            config = found(target_modules=names, **kwargs)
        first = next(iter(self._sites.values()))
        before = None if first.weight.is_meta else first.weight.detach().clone()
        # Some methods ask the module for its device, by any parameter.
        holder.any = nn.Parameter(torch.empty(0, device=first.weight.device))
        bases = {name: getattr(holder, name) for name in names}
        kind = _peft().PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        # Rows of a frozen weight may be told to be frozen, which some methods do.
        frozen = {weight: weight.requires_grad for weight in self._parameters_of_sites()}
        try:
            for weight in frozen:
                weight.requires_grad_(False)
            tuner: Any = kind(holder, config, _NAME)
        finally:
            for weight, trained in frozen.items():
                weight.requires_grad_(trained)
        layers = tuner.model
        del layers.any
        kept = all(getattr(getattr(layers, n), "base_layer", None) is bases[n] for n in names)
        kept &= any(parameter.requires_grad for parameter in layers.parameters())
        if not kept or (before is not None and not torch.equal(before, first.weight)):
            raise ValueError(
                f"adapter.config.peft_type={config.peft_type.value!r} does not leave a frozen "
                "linear layer as it is, so it can't be used here."
            )
        return tuner

    def penalty(self) -> torch.Tensor | None:
        """See :meth:`Adapter.penalty`."""
        return None if self.schedule is None else self.schedule.penalty()

    def _parameters_of_sites(self) -> list[nn.Parameter]:
        return [p for site in self._sites.values() for p in site.linear.parameters(recurse=False)]

    def normalise(self, option: str, value: Any) -> Any:
        """A config with all of its fields; see :meth:`Adapter.normalise`."""
        if option != "config":
            return super().normalise(option, value)
        found = self._config_class(value)
        defaults = {
            field.name: field.default
            for field in dataclasses.fields(found)
            if isinstance(field.default, bool | int | float | str | None)
        }
        return super().normalise(option, {**defaults, **value})

    def components(self) -> dict[str, list[nn.Parameter]]:
        """What peft trains; parameters that it only keeps are in no component."""
        parameters = self.layers.named_parameters()
        return {"adapter": [p for name, p in parameters if name in self._trained]}

    def _versions(self) -> list[int]:
        return [parameter._version for parameter in self.layers.parameters()]

    def backbone_loaded(self) -> None:
        """See :meth:`Adapter.backbone_loaded`: start again, unless something was trained."""
        if self._versions() != self._start:
            return
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._generator)
            self.layers.load_state_dict(self._inject().model.state_dict())
        self._start = self._versions()


def _start_anew(module: PeftAdapter, incompatible: Any) -> None:
    """After a file without the adapter's tensors was loaded: it may have been a backbone."""
    own = next(iter(module.state_dict()))
    if any(name.endswith(own) for name in incompatible.missing_keys):
        module.backbone_loaded()
