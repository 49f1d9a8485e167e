"""Any registered backbone with an adapter of ours, for models of other OpenMMLab projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from uniadapter.checkpoints.state import digest_frozen
from uniadapter.registry import MODELS

from ..adapters.base import Adapter
from ..check_config import check_model_cfg
from ..sites import Places, disabled
from ..taps import Call, Recorder, Taps, in_form_of, last_output
from .charts import Chart
from .hosted import HostedTower, linear_sites

_FINGERPRINT = "backbone_sha256"


@MODELS.register_module()
class AdaptedBackbone(BaseModule):
    """A frozen backbone whose sites an adapter fills; it returns what the backbone returns.

    .. code-block:: python

        backbone=dict(
            type='uniadapter.AdaptedBackbone',
            backbone=dict(type='VisionTransformer', init_cfg=dict(type='Pretrained', ...)),
            adapter=dict(type='uniadapter.UniAdapter', towers=['visual'], bottleneck=128))

    Only the adapter is trained, and whatever of the model lies outside (its head). Where the
    backbone's weights are those of its ``init_cfg=dict(type='Pretrained')``, they are left out of
    state dicts, which hold their SHA-256 instead: loading such a file loads the backbone from
    ``init_cfg`` if that was not done before, and refuses one with other weights. Batch norms of a
    frozen backbone keep their statistics.

    Args:
        backbone (dict | nn.Module): Config, looked up in the current scope, or the module itself.
        adapter (dict, optional): Config of the adapter. None leaves the sites empty.
        chart (str | dict, optional): Where the sites are, see :class:`Chart`. Defaults to None: the
            backbone's own, ``backbone.sites()``, or by its class.
        role (str): How the adapter calls this tower. Defaults to ``'visual'``.
        train_backbone (bool): Train the backbone as well. Defaults to False.
        init_cfg (dict, optional): Of this module; the backbone has its own.

    Raises:
        ValueError: If a type is unknown or does not take an option of the adapter, there is no
            chart for the backbone, a path of it does not exist, or the adapter wants a site that
            the backbone does not have.
    """

    #: Options whose types are looked up in the current scope.
    foreign_parts = ("backbone",)

    def __init__(
        self,
        backbone: dict | nn.Module,
        adapter: dict | None = None,
        chart: str | Chart | Mapping[str, Any] | None = None,
        role: str = "visual",
        train_backbone: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.backbone: Any = backbone if isinstance(backbone, nn.Module) else _build(backbone)
        self.train_backbone = train_backbone
        self.role = role
        # A backbone that was written with sites needs no chart.
        own = chart is None and hasattr(self.backbone, "sites")
        self._tower = None if own else HostedTower(self.backbone, chart)
        self._places = Places()
        source: Any = self.backbone if self._tower is None else self._tower
        found = source.sites()
        self._places.add(role, found)
        hosted = None if self._tower is None else self._tower.chart
        if hosted is not None and hosted.channels_first:
            self._places.maps.add(role)
        numbers = [index for index, _ in found]
        self._places.add_linears(role, linear_sites(self.backbone, role, numbers, hosted))
        self._places.towers["backbone"] = self.backbone
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(train_backbone)
        self.adapter: Adapter | None = None
        if adapter is not None:
            check_model_cfg(adapter, "adapter")
            self.adapter = MODELS.build(adapter, default_args={"places": self._places})
            if self.adapter.schedule is not None:
                raise ValueError(
                    f"{type(self.adapter).__name__} has a schedule and a penalty (fields of "
                    "AdaLoRA's in adapter.config), which the model around a backbone does not run: "
                    "leave them out, so that the rank is constant."
                )
            if self.adapter.tapped and train_backbone:
                raise ValueError(
                    f"{type(self.adapter).__name__} reads the backbone without a graph, so that "
                    "train_backbone=True would train nothing of it: set it to False."
                )
        self._own = {f"backbone.{name}" for name in self.backbone.state_dict()}
        self._pretrained: str | None = None
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_fill_in)

    def places(self) -> Places:
        """The sites of the backbone."""
        return self._places

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the backbone with its own arguments.

        Raises:
            ValueError: If the adapter takes the place of the run, and what the backbone returns has
                no place for its states.
        """
        if self.adapter is None or not self.adapter.takes(self.role):
            return self.backbone(*args, **kwargs)
        kept: list[Any] = []

        def run() -> torch.Tensor:
            kept.append(self.backbone(*args, **kwargs))
            own = last_output(kept[-1])
            # Some return what stands for the whole alone.
            return own[:, None] if own.dim() == 2 else own

        call = Call(self.backbone, self._layers(), run)
        states = self.adapter.run(self.role, self.backbone, call)
        # A method that reads neither taps nor the tower's own states still returns in its form.
        out = kept[-1] if kept else self.backbone(*args, **kwargs)
        return in_form_of(states, out)

    def taps(self, *args: Any, **kwargs: Any) -> Taps:
        """Run the backbone without a graph and return the states of its layers.

        Raises:
            ValueError: If the backbone has its sites from itself, and no ``layers``.
        """
        return Recorder(self._layers())(lambda: self.backbone(*args, **kwargs))

    def _layers(self) -> list[nn.Module]:
        """The modules between which taps are read."""
        source = self.backbone if self._tower is None else self._tower
        layers = getattr(source, "layers", None)
        if layers is None:
            raise ValueError(
                f"{type(self.backbone).__name__} has sites and no `layers` to read the states of: "
                "give it that attribute, or name a chart."
            )
        return list(layers)

    def adapter_disabled(self) -> Any:
        """Run the bare backbone inside the context."""
        return disabled(self._places) if self.adapter is None else self.adapter.disabled()

    def train(self, mode: bool = True) -> AdaptedBackbone:
        """Set the mode; batch norms of a frozen backbone stay in evaluation."""
        # Some backbones of mmpretrain return nothing here.
        super().train(mode)
        if not self.train_backbone:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def init_weights(self) -> None:
        """Initialise the backbone by its own ``init_cfg``; an adapter is initialised when built."""
        self._init_backbone()
        self._is_init = True

    def _init_backbone(self) -> None:
        if hasattr(self.backbone, "init_weights"):
            self.backbone.init_weights()
        if self.adapter is not None:
            self.adapter.backbone_loaded()
        if self.leaves_out:
            self._pretrained = self._fingerprint()

    @property
    def leaves_out(self) -> bool:
        """Whether state dicts leave the backbone to the file of its ``init_cfg``."""
        init = getattr(self.backbone, "init_cfg", None)
        pretrained = isinstance(init, Mapping) and init.get("type") == "Pretrained"
        return pretrained and not self.train_backbone

    def _fingerprint(self) -> str:
        return digest_frozen({"backbone": self.backbone})


def _build(config: Any) -> Any:
    """Build a backbone of the current scope, or of the one in its prefix."""
    kind = config.get("type") if isinstance(config, Mapping) else None
    if kind is None:
        raise ValueError(
            f"backbone={config!r} must be a dict with a `type`, such as 'mmpretrain.ResNet'."
        )
    with ROOT.switch_scope_and_registry(config.get("_scope_")) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise ValueError(
                f"backbone.type={kind!r} is not registered in the scope {registry.scope!r}: write "
                "the scope in front, such as 'mmpretrain.ResNet', and import a class of your own "
                "by custom_imports."
            )
    return ROOT.build(config)


@torch.no_grad()
def _leave_out(
    module: AdaptedBackbone, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    """Take weights out of a state that their own file holds, and say which they were."""
    if module._pretrained is None or module._fingerprint() != module._pretrained:
        return
    for name in module._own:
        state.pop(prefix + name, None)
    sha = bytes.fromhex(module._pretrained)
    state[prefix + _FINGERPRINT] = torch.tensor(list(sha), dtype=torch.uint8)


def _fill_in(module: AdaptedBackbone, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Complete a state without the backbone's weights from the backbone, if it is the right one."""
    sha = state.pop(prefix + _FINGERPRINT, None)
    if sha is None:
        return
    if module._pretrained is None:
        module._init_backbone()
    found, wanted = module._fingerprint(), bytes(sha.tolist()).hex()
    if found != wanted:
        raise ValueError(
            "These weights were trained on a backbone with other weights (sha256 "
            f"{wanted[:12]}..., here {found[:12]}...): set init_cfg=dict(type='Pretrained', "
            "checkpoint=...) of the inner backbone to the file it was trained from."
        )
    for name, tensor in module.backbone.state_dict().items():
        state[f"{prefix}backbone.{name}"] = tensor
