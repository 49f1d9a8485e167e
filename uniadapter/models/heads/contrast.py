"""Contrastive heads: projections of media and texts into one space, and a loss there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.dist import gather_ragged, gather_with_grad, own_rows, weigh_mean
from uniadapter.utils.tensors import at_least_float32

from ..adapters.base import check_choice
from ..momentum import TrainedEMA
from .base import Head
from .itc import FeatureQueue, contrastive_loss

_TEMPERATURE_RANGE = (0.001, 0.5)

Features = tuple[torch.Tensor, torch.Tensor]
"""Features (B, E) of length 1 of media and of their texts."""


class ContrastHead(Head):
    """Base class: two projections, a temperature and the three calls of a training step.

    A step calls :meth:`prepare`, then computes features, then calls :meth:`loss`.

    Args:
        visual_dim (int): Width of the states of media.
        text_dim (int): Width of the states of texts.
        embed_dim (int): Width E of the features.
        bias (bool): Whether the projections have a bias.

    Raises:
        ValueError: If ``embed_dim`` is not positive.
    """

    # Least norm that an embedding is divided by.
    eps = 1e-12
    #: Whether embeddings are brought to length 1; see ``embeddings_as_they_are`` of a model.
    unit = True

    def __init__(self, visual_dim: int, text_dim: int, embed_dim: int, bias: bool = True) -> None:
        super().__init__()
        if embed_dim < 1:
            raise ValueError(f"{embed_dim=} of a {type(self).__name__} must be at least 1.")
        self.vision_proj = nn.Linear(visual_dim, embed_dim, bias=bias)
        self.text_proj = nn.Linear(text_dim, embed_dim, bias=bias)

    def visual(self, states: torch.Tensor, term: torch.Tensor | None = None) -> torch.Tensor:
        """Features (..., E) of media with states (..., Dv): length 1, at least float32.

        ``term`` (..., E), if there is one, is added to the projected states.
        """
        return self._feature(self.vision_proj(states), term)

    def text(self, states: torch.Tensor, term: torch.Tensor | None = None) -> torch.Tensor:
        """Features (..., E) of texts with states (..., Dt); see :meth:`visual`."""
        return self._feature(self.text_proj(states), term)

    def _feature(self, embedding: torch.Tensor, term: torch.Tensor | None) -> torch.Tensor:
        embedding = at_least_float32(embedding)
        total = embedding if term is None else embedding + term
        return F.normalize(total, dim=-1, eps=self.eps) if self.unit else total

    def forward(self, visual: torch.Tensor, text: torch.Tensor) -> Features:
        """Features (B, E) of media (B, Dv) and of texts (B, Dt)."""
        return self.visual(visual), self.text(text)

    @property
    def temperature(self) -> torch.Tensor:
        """Scalar that divides similarities."""
        raise NotImplementedError

    def follow(self, model: nn.Module, names: Iterable[str] | None = None) -> None:
        """Get to know the model once it is built.

        Args:
            model (nn.Module): The model that computes the features.
            names (Iterable[str], optional): Its trained parameters that they depend on. Defaults
                to all that are trained.
        """

    def restart(self, model: nn.Module) -> None:
        """Called after weights were loaded into the model."""

    def prepare(
        self, model: nn.Module, encode: Callable[..., Features], *args: Any, **kwargs: Any
    ) -> Features | None:
        """Begin a training step, before the features that are to be trained are computed.

        Args:
            model (nn.Module): The model.
            encode (Callable): A function of the model that returns features; called, if at all,
                with the arguments behind it.
            *args: Of ``encode``.
            **kwargs: Of ``encode``.

        Returns:
            tuple: Targets for :meth:`loss`; None if the head has none.
        """
        return None

    def loss(
        self,
        visual: torch.Tensor,
        text: torch.Tensor,
        ids: torch.Tensor,
        targets: Features | None = None,
    ) -> torch.Tensor:
        """The loss of a batch, a collective over all ranks.

        Args:
            visual (Tensor): Features of this rank's media, (B, E).
            text (Tensor): Features of their texts, (B, E).
            ids (Tensor): Media ids (B,).
            targets (tuple, optional): What :meth:`prepare` returned.

        Returns:
            Tensor: Scalar; this rank's part of the mean over all ranks' pairs, see
            :func:`uniadapter.utils.dist.weigh_mean`.
        """
        raise NotImplementedError


@MODELS.register_module()
class MomentumContrastHead(ContrastHead):
    """ITC of ALBEF and BLIP: targets of momentum averages, a queue of their features.

    Args:
        visual_dim (int): Width of the states of media.
        text_dim (int): Width of the states of texts.
        embed_dim (int): Width E of the contrastive features. Defaults to 256.
        temperature (float): Initial temperature, clamped to [0.001, 0.5]. Defaults to 0.07.
        train_temperature (bool): Train it, as BLIP does. Defaults to True.
        momentum (float): Weight of the momentum averages. Defaults to 0.995.
        queue_size (int): Entries of the feature queue; any batch size fits. Defaults to 57600.
        alpha (float): Share of the momentum distribution in the soft targets. Defaults to 0.4;
            ``alpha_scale`` ramps it.

    Raises:
        ValueError: If an option is outside its range.
    """

    ema: TrainedEMA

    def __init__(
        self,
        visual_dim: int,
        text_dim: int,
        embed_dim: int = 256,
        temperature: float = 0.07,
        train_temperature: bool = True,
        momentum: float = 0.995,
        queue_size: int = 57600,
        alpha: float = 0.4,
    ) -> None:
        if queue_size < 1:
            raise ValueError(f"{queue_size=} of a {type(self).__name__} must be at least 1.")
        if not 0 <= momentum <= 1 or not 0 <= alpha <= 1:
            raise ValueError(
                f"{momentum=} and {alpha=} of a {type(self).__name__} must be in [0, 1]."
            )
        super().__init__(visual_dim, text_dim, embed_dim)
        self.temp = nn.Parameter(torch.tensor(float(temperature)))
        self.train_temperature = train_temperature
        self.temp.requires_grad_(train_temperature)
        self.momentum = momentum
        self.alpha, self.alpha_scale = alpha, 1.0
        self._queue_sizes = embed_dim, queue_size
        self.queue = FeatureQueue(embed_dim, queue_size)

    @property
    def temperature(self) -> torch.Tensor:
        """The parameter ``temp``."""
        return self.temp

    def scalars(self) -> dict[str, nn.Parameter]:
        """The temperature."""
        return {"temperature": self.temp}

    def frozen_scalars(self) -> set[str]:
        """The temperature, unless it is trained."""
        return set() if self.train_temperature else {"temperature"}

    def follow(self, model: nn.Module, names: Iterable[str] | None = None) -> None:
        """Average the trained parameters of a model from now on; see the base class."""
        if names is None:
            own, found = {id(p) for p in self.scalars().values()}, model.named_parameters()
            names = [name for name, p in found if p.requires_grad and id(p) not in own]
        self.ema = TrainedEMA(model, names, self.momentum)
        if self._modules["queue"] is None:
            self.queue = FeatureQueue(*self._queue_sizes).to(self.temp.device)

    def restart(self, model: nn.Module) -> None:
        """Start the averages from the loaded weights."""
        self.ema.reset(model)

    def prepare(
        self, model: nn.Module, encode: Callable[..., Features], *args: Any, **kwargs: Any
    ) -> Features:
        """Clamp the temperature, move the averages and compute their features.

        They need no graph, and their memory is free again when that of the step is built.

        Raises:
            ValueError: If the head does not know the model yet.
        """
        if self._modules.get("ema") is None:
            raise ValueError(
                f"{type(self).__name__} averages a model's weights: call follow(model) once it is "
                "built."
            )
        with torch.no_grad():
            self.temp.clamp_(*_TEMPERATURE_RANGE)
        self.ema.update(model)
        return self.ema.call(model, encode, *args, **kwargs)

    def loss(
        self,
        visual: torch.Tensor,
        text: torch.Tensor,
        ids: torch.Tensor,
        targets: Features | None = None,
    ) -> torch.Tensor:
        """ITC against the averages' features of all ranks and the queue, which then takes them."""
        if targets is None:
            raise ValueError(f"{type(self).__name__}.loss needs the targets of prepare().")
        with torch.autocast(visual.device.type, enabled=False):
            visual_m, text_m, all_ids = (gather_ragged(t) for t in (*targets, ids))
            queue = self.queue
            candidates = (torch.cat((visual_m, queue.visual)), torch.cat((text_m, queue.text)))
            loss = contrastive_loss(
                visual,
                text,
                targets,
                candidates,
                ids,
                torch.cat((all_ids, queue.ids)),
                # A copy: the next step clamps the parameter in place, perhaps before this one's
                # backward.
                self.temp.clone(),
                self.alpha * self.alpha_scale,
                self.execution,
            )
            queue.push(visual_m, text_m, all_ids)
        return weigh_mean(loss, len(ids))


@dataclass(frozen=True)
class BatchContrastOptions:
    """What a config may say of a :class:`BatchContrastHead` beside its widths.

    Args:
        temperature (float): Initial temperature. Defaults to 0.07.
        train_temperature (bool): Train it. Defaults to True.
        bias (bool): Whether the projections have a bias. Defaults to False, as the originals.
        log_scale (bool): Train ``logit_scale``, the logarithm of what similarities are multiplied
            by, as the originals; otherwise the temperature itself, ``temp``. Defaults to True.
        max_scale (float, optional): Most that similarities are multiplied by; CLIP has 100, BEiT-3
            no limit. Defaults to None.
        gradients (str): ``'all'``: of all ranks' features, so that the gradient averaged over the
            ranks is that of one process. ``'own'``: every rank computes the loss of all pairs, and
            only its own features have a gradient, as in CLIP4Clip; the average is 1 / ranks of the
            whole gradient, which counts where gradients are clipped. Defaults to ``'all'``.
        eps (float): Least norm that an embedding is divided by. Defaults to 1e-12; CLIP4Clip has
            1e-6.
    """

    temperature: float = 0.07
    train_temperature: bool = True
    bias: bool = False
    log_scale: bool = True
    max_scale: float | None = None
    gradients: str = "all"
    eps: float = 1e-12

    def __post_init__(self) -> None:
        check_choice(self.gradients, ("all", "own"), "contrast.gradients")
        for key in ("temperature", "max_scale", "eps"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"contrast.{key}={value} of a BatchContrastHead must be positive.")


@MODELS.register_module()
class BatchContrastHead(ContrastHead):
    """In-batch contrast over the batches of all ranks, with gradients, as CLIP and BEiT-3 train.

    Only the own pair is positive: a second caption of a medium in the batch counts as a negative,
    as in the originals.

    Args:
        visual_dim (int): Width of the states of media.
        text_dim (int): Width of the states of texts.
        embed_dim (int): Width E of the contrastive features. Defaults to 256.
        **options: Those of :class:`BatchContrastOptions`.

    Raises:
        ValueError: If an option is not positive or outside its set.
    """

    Options = BatchContrastOptions

    def __init__(
        self, visual_dim: int, text_dim: int, embed_dim: int = 256, **options: Any
    ) -> None:
        chosen = BatchContrastOptions(**options)
        super().__init__(visual_dim, text_dim, embed_dim, chosen.bias)
        self.gradients, self.eps = chosen.gradients, chosen.eps
        self.log_scale, self.max_scale = chosen.log_scale, chosen.max_scale
        start = math.log(1 / chosen.temperature) if chosen.log_scale else float(chosen.temperature)
        self._scalar = "logit_scale" if chosen.log_scale else "temp"
        parameter = nn.Parameter(torch.tensor(start), requires_grad=chosen.train_temperature)
        self.register_parameter(self._scalar, parameter)
        self.train_temperature = chosen.train_temperature

    @property
    def temperature(self) -> torch.Tensor:
        """``temp``, or what ``logit_scale`` makes of it."""
        scalar = self.get_parameter(self._scalar)
        return torch.exp(-scalar) if self.log_scale else scalar

    def scalars(self) -> dict[str, nn.Parameter]:
        """The temperature, in whichever form."""
        return {"temperature": self.get_parameter(self._scalar)}

    def frozen_scalars(self) -> set[str]:
        """The temperature, unless it is trained."""
        return set() if self.train_temperature else {"temperature"}

    @torch.no_grad()
    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Clamp the temperature; nothing is averaged."""
        if self.max_scale is None:
            return
        scalar = self.get_parameter(self._scalar)
        if self.log_scale:
            scalar.clamp_(max=math.log(self.max_scale))
        else:
            scalar.clamp_(min=1 / self.max_scale)

    def loss(
        self,
        visual: torch.Tensor,
        text: torch.Tensor,
        ids: torch.Tensor | None = None,
        targets: Features | None = None,
    ) -> torch.Tensor:
        """Cross-entropy of the own pairs among all ranks' media and texts, both directions.

        ``ids`` and ``targets`` play no part; see the base class for the rest.
        """
        with torch.autocast(visual.device.type, enabled=False):
            own = own_rows(len(visual)).to(visual.device)
            # A copy: the next step may clamp the parameter in place.
            temperature = self.temperature.clone()
            if self.gradients == "own":
                return _loss_of_all(visual, text, own, temperature)
            visual_all, text_all = gather_with_grad(visual), gather_with_grad(text)
            of_visual = F.cross_entropy(visual @ text_all.t() / temperature, own, reduction="sum")
            of_text = F.cross_entropy(text @ visual_all.t() / temperature, own, reduction="sum")
            # A rank without a pair takes part in the mean over all ranks.
            mean = (of_visual + of_text) / (2 * max(len(visual), 1))
        return weigh_mean(mean, len(visual))


def _loss_of_all(
    visual: torch.Tensor, text: torch.Tensor, own: torch.Tensor, temperature: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of all ranks' pairs, with gradients of this rank's features alone.

    Args:
        visual (Tensor): Features of this rank's media, (B, E).
        text (Tensor): Features of their texts, (B, E).
        own (Tensor): Where these stand among those of all ranks, (B,).
        temperature (Tensor): Scalar that divides the similarities.
    """
    # What is gathered has no graph on several ranks; on one it is the features themselves.
    visual_all, text_all = (
        gather_ragged(part.detach()).index_copy(0, own, part) for part in (visual, text)
    )
    logits = text_all @ visual_all.t() / temperature
    pairs = torch.arange(len(logits), device=logits.device)
    losses = (F.cross_entropy(each, pairs, reduction="sum") for each in (logits, logits.t()))
    return sum(losses, logits.new_zeros(())) / (2 * max(len(logits), 1))
