"""The options of a side network, in which the published ones differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..base import check_choice, check_int
from .parts import NORMS

ORDERS = ("linear-norm", "act-linear")
CHOICES: dict[str, Sequence[str]] = {
    "order": ORDERS,
    "norm": NORMS,
    "guide": ("last", "outside"),
    "residual": ("identity", "index", "none"),
    "projection": ("none", "linear", "mlp"),
    "confidence": ("gate", "uniform"),
    "eps_mode": ("add", "clamp"),
    "init": ("default", "normal", "xavier"),
}


@dataclass(frozen=True)
class SideNetOptions:
    """What can be chosen of a :class:`.side.SideNet`, whose symbols these are.

    Args:
        in_dims (Sequence[int]): Width of every tap, the guide not among them.
        guide_dim (int): Width of the guide.
        side_dim (int): Side width h.
        out_dim (int, optional): Width of the output. None: no U, the output is as wide as h.
        order (str): psi is ``'linear-norm'``, or ``'act-linear'``: ReLU, linear, no norm.
        norm (str): The norm of psi and of P: ``'layer'``, ``'batch'`` (statistics over rows and
            tokens; no padding, no causal form) or ``'none'``. Defaults to ``'layer'``.
        guide (str): The guide is the ``'last'`` of the taps that are given, or comes from
            ``'outside'``. Defaults to ``'last'``.
        residual (str): R_i: ``'identity'`` is T_i itself; ``'index'`` is one token of T_i, for a
            guide of one vector; ``'none'`` is the ablation. Defaults to ``'identity'``.
        projection (str): P: ``'none'``, ``'linear'`` (h to h) or ``'mlp'`` (h to ``guide_dim`` to
            h), with ``norm`` behind. Defaults to ``'none'``.
        add_query (bool): Add Q to P(F). Defaults to True.
        out_act (bool): U begins with a ReLU. Defaults to False.
        out_norm (bool): U ends with a LayerNorm. Defaults to False.
        out_residual (bool): ``Y = X_g + U(...)``, the frozen output itself plus a term. Defaults to
            False.
        zero_up (bool): U starts at zero, so that with ``out_residual`` the start is the frozen
            output. Defaults to False.
        every_tap (bool): Return ``U(T_i)`` of every tap in front of Y, for auxiliary losses.
            Defaults to False.
        confidence (str): ``'gate'``, or ``'uniform'`` as an ablation: c_i = 1 / n, no gate.
        eps (float): Guard of the rows' sums. Defaults to 1e-6.
        eps_mode (str): The guard is ``'add'``-ed to the sum, or the sum is ``'clamp'``-ed to it.
        causal (bool): A position sees itself and those before, and its own running means and
            weights: for decoders that predict the next word. Defaults to False.
        crosser (bool): Taps read an encoder's side output first. Defaults to False.
        reduction (bool): Taps and guide are maps of a convolution network, brought to the last
            one's grid first (:class:`.reduction.StageReduction`). Defaults to False.
        init (str): PyTorch's ``'default'``; ``'normal'``: N(0, 0.02), biases 0; ``'xavier'``:
            uniform, biases as PyTorch's.

    Raises:
        ValueError: If an option is outside its set, or options contradict one another.
    """

    in_dims: Sequence[int]
    guide_dim: int
    side_dim: int
    out_dim: int | None = None
    order: str = "linear-norm"
    norm: str = "layer"
    guide: str = "last"
    residual: str = "identity"
    projection: str = "none"
    add_query: bool = True
    out_act: bool = False
    out_norm: bool = False
    out_residual: bool = False
    zero_up: bool = False
    every_tap: bool = False
    confidence: str = "gate"
    eps: float = 1e-6
    eps_mode: str = "add"
    causal: bool = False
    crosser: bool = False
    reduction: bool = False
    init: str = "default"

    def __post_init__(self) -> None:
        _check(vars(self))


def _check(options: dict[str, Any]) -> None:
    """Refuse options outside their sets, and those that contradict one another."""
    for name, choices in CHOICES.items():
        check_choice(options[name], choices, name)
    sizes = {f"in_dims[{i}]": width for i, width in enumerate(options["in_dims"])}
    sizes.update({name: options[name] for name in ("guide_dim", "side_dim", "out_dim")})
    for name, size in sizes.items():
        if (name, size) != ("out_dim", None):
            check_int(size, 1, name)
    if not options["in_dims"]:
        raise ValueError("in_dims=[]: name the width of one tap at least.")
    if not options["eps"] > 0:
        raise ValueError(f"eps={options['eps']!r} must be above 0.")
    _check_norm(options["order"] == "act-linear", options["norm"], options["projection"])
    _check_pairs(options)
    if options["out_residual"] and options["out_dim"] != options["guide_dim"]:
        raise ValueError(
            f"out_residual=True adds the guide ({options['guide_dim']} wide) to an output of "
            f"out_dim={options['out_dim']}."
        )


def _check_norm(rectify: bool, norm: str, projection: str) -> None:
    """Refuse a norm that nothing reads, or a psi or P that lacks its own."""
    if not rectify and norm == "none":
        raise ValueError("order='linear-norm' needs norm='layer' or 'batch'.")
    if rectify and (norm == "none") != (projection == "none"):
        raise ValueError(
            f"order='act-linear' has no norm, so that norm={norm!r} is P's alone, and "
            f"projection={projection!r}: set both, or both to 'none'."
        )


def _check_pairs(options: dict[str, Any]) -> None:
    """Refuse options that contradict one another."""
    pairs: dict[str, tuple[bool, set[str]]] = {
        "out_dim=None, which is no U,": (
            options["out_dim"] is None,
            {"out_act", "out_norm", "out_residual", "zero_up", "every_tap"},
        ),
        "residual='index', which has a single query,": (
            options["residual"] == "index",
            {"causal", "every_tap", "guide='last'"},
        ),
        "norm='batch', whose statistics mix tokens,": (options["norm"] == "batch", {"causal"}),
        "reduction=True, whose guide is the last stage,": (
            options["reduction"],
            {"causal", "guide='outside'"},
        ),
        "out_residual=True": (options["out_residual"], {"every_tap"}),
    }
    on = {name for name, value in options.items() if value is True}
    on.add(f"guide={options['guide']!r}")
    for reason, (holds, against) in pairs.items():
        if holds and on & against:
            raise ValueError(f"{reason} contradicts {', '.join(sorted(on & against))}.")
