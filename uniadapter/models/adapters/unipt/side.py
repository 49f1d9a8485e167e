"""The parallel network of UniPT (CVPR 2024, arXiv 2308.14316) beside one frozen tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..base import check_choice
from .interaction import Guard, confidence, mix, wide
from .options import SideNetOptions
from .parts import Crosser, Down, Projection, Up
from .presets import PRESETS
from .reduction import StageReduction


class SideNet(nn.Module):
    """Reads the states of a frozen tower, its *taps*, and answers beside it.

    With taps ``X_i`` (B, N, D_i) and a guide ``X_g``, ``T_i = psi_i(X_i)`` and ``Q = psi_g(X_g)``
    of the side width h:

    1. ``A_i = relu(Q T_i^T)``, 0 at padded keys, each row divided by its sum; ``F_i = A_i T_i +
       R_i``.
    2. ``c = softmax_i(w . (mean(Q) * mean(T_i)) + b)``, one weight a row and tap.
    3. ``F = sum_i c_i F_i`` and ``Y = U(Q + P(F))``.

    Taps do not require a gradient, and none goes through the tower. The paper's figure and the
    authors' code differ; this is the code, whose four copies the options tell apart
    (:data:`.presets.PRESETS`). There is no dropout.

    Args:
        in_dims (Sequence[int]): Width of every tap, the guide not among them.
        guide_dim (int): Width of the guide.
        side_dim (int): Side width h.
        out_dim (int, optional): Width of the output. None: no U, the output is as wide as h.
        **options: Those of :class:`.options.SideNetOptions`.

    Raises:
        ValueError: If an option is outside its set, or options contradict one another.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        guide_dim: int,
        side_dim: int,
        out_dim: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        chosen = SideNetOptions(in_dims, guide_dim, side_dim, out_dim, **options)
        norm, projection = chosen.norm, chosen.projection
        self.in_dims, self.guide_dim, self.side_dim = list(in_dims), guide_dim, side_dim
        self.guide, self.residual, self.norm = chosen.guide, chosen.residual, norm
        self.causal, self.add_query = chosen.causal, chosen.add_query
        self.out_residual, self.every_tap = chosen.out_residual, chosen.every_tap
        self.guard = Guard(chosen.eps, chosen.eps_mode == "clamp")
        rectify = chosen.order == "act-linear"
        self.reduce = StageReduction(self.in_dims, guide_dim) if chosen.reduction else None
        self.down = nn.ModuleList(Down(width, side_dim, rectify, norm) for width in self.in_dims)
        self.down_guide = Down(guide_dim, side_dim, rectify, norm)
        self.crosser = None
        if chosen.crosser:
            self.crosser = nn.ModuleList(Crosser(side_dim, self.guard) for _ in self.in_dims)
        self.gate = nn.Linear(side_dim, 1) if chosen.confidence == "gate" else None
        self.projection: nn.Module = nn.Identity()
        if projection != "none":
            hidden = guide_dim if projection == "mlp" else None
            self.projection = Projection(side_dim, norm, hidden)
        self.up: nn.Module = nn.Identity()
        if out_dim is not None:
            self.up = Up(side_dim, out_dim, chosen.out_act, chosen.out_norm, chosen.zero_up)
        self._init(chosen.init)

    def _init(self, kind: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear) and kind == "normal":
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear) and kind == "xavier":
                nn.init.xavier_uniform_(module.weight)
        if isinstance(self.up, Up):
            self.up.reset()

    def forward(
        self,
        taps: Sequence[torch.Tensor],
        guide: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        position: int | torch.Tensor = 0,
        memory: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Answer beside the tower.

        Args:
            taps (Sequence[Tensor]): (B, N, D_i) each, in the order of ``in_dims``; with
                ``guide='last'`` the guide behind them. With ``reduction`` maps (B, D_i, H_i, W_i).
            guide (Tensor, optional): A guide from outside: (B, N, G), one state a token of the
                taps, or (B, G), one a row.
            mask (Tensor, optional): (B, N), 1 where a token is real. What stands at padding does
                not reach real tokens, unless it is inf or NaN behind the projection; what comes
                back there means nothing.
            position (int | Tensor): With ``residual='index'``, the token that is R_i: one number,
                or (B,) long. Defaults to 0, the class token.
            memory (Tensor, optional): With ``crosser``, the encoder's side output (B, S, h).
            memory_mask (Tensor, optional): (B, S), 1 where it is real.

        Returns:
            Tensor: (B, N, e), or (B, e) for a guide of one vector; with ``every_tap`` (n + 1, B, N,
            e), Y the last.

        Raises:
            ValueError: If what is given does not fit the options, or shapes do not fit each other.
        """
        taps, anchor = self._read(taps, guide)
        self._check_inputs(taps, anchor, mask, position, memory, memory_mask)
        single = anchor.dim() == 2
        query = self.down_guide(anchor[:, None] if single else anchor)
        states = [down(tap) for down, tap in zip(self.down, taps, strict=True)]
        if self.crosser is not None:
            states = [
                cross(state, memory, memory_mask)
                for cross, state in zip(self.crosser, states, strict=True)
            ]
        found = self.projection(self._interact(query, states, mask, position).to(query.dtype))
        if self.add_query:
            found = query + found
        out = self.up(found)
        if self.out_residual:
            out = (anchor[:, None] if single else anchor) + out
        if self.every_tap:
            out = torch.stack([*(self.up(state) for state in states), out])
        return out.squeeze(-2) if single else out

    def _read(
        self, taps: Sequence[torch.Tensor], guide: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Tell taps and guide apart, maps reduced to tokens."""
        inside = self.guide == "last"
        if inside == (guide is not None):
            word = "is the last of the taps" if inside else "comes from outside: give guide="
            raise ValueError(f"guide={self.guide!r}: the guide {word}.")
        expected = len(self.in_dims) + inside
        if len(taps) != expected:
            raise ValueError(
                f"{len(taps)} taps, expected {expected}: widths {self.in_dims}"
                + (f" and the guide's {self.guide_dim}." if inside else ".")
            )
        given = list(taps)
        axis = 1 if self.reduce is not None else -1
        widths = [tap.shape[axis] for tap in given]
        if widths != [*self.in_dims, *([self.guide_dim] if inside else [])]:
            raise ValueError(f"Taps of widths {widths}, expected {self.in_dims} and the guide's.")
        if self.reduce is not None:
            given = self.reduce(given)
        if guide is None:
            guide = given.pop()
        return given, guide

    def _check_inputs(
        self,
        taps: list[torch.Tensor],
        guide: torch.Tensor,
        mask: torch.Tensor | None,
        position: int | torch.Tensor,
        memory: torch.Tensor | None,
        memory_mask: torch.Tensor | None,
    ) -> None:
        """Refuse shapes that would broadcast into something else."""
        rows, tokens = taps[0].shape[:2]
        shapes = [tuple(tap.shape) for tap in taps]
        # Where a vector asks and no token answers in its own name, each tap may have its own N.
        free = self.residual == "none" and guide.dim() == 2 and mask is None
        wanted = (rows,) if free else (rows, tokens)
        if any(len(shape) != 3 or shape[: len(wanted)] != wanted for shape in shapes):
            raise ValueError(f"Taps of shapes {shapes}, not of one (B, N, D).")
        single = self.residual == "index" or (self.residual == "none" and guide.dim() == 2)
        lengths = (rows,) if single else (rows, tokens)
        if tuple(guide.shape) != (*lengths, self.guide_dim):
            raise ValueError(
                f"A guide of shape {tuple(guide.shape)}, expected {(*lengths, self.guide_dim)} "
                f"for residual={self.residual!r} and taps {shapes[0]}."
            )
        if single and self.causal:
            raise ValueError("causal=True needs a guide of one state a token.")
        if isinstance(position, int) and not 0 <= position < tokens:
            raise ValueError(f"position={position}, but the taps have {tokens} tokens.")
        if isinstance(position, torch.Tensor) and tuple(position.shape) != (rows,):
            raise ValueError(f"position of shape {tuple(position.shape)}, expected {(rows,)}.")
        if mask is not None and tuple(mask.shape) != (rows, tokens):
            raise ValueError(f"A mask of shape {tuple(mask.shape)}, expected {(rows, tokens)}.")
        if mask is not None and self.norm == "batch":
            raise ValueError("norm='batch' would count padding in its statistics: give no mask.")
        if (self.crosser is None) != (memory is None):
            word = "needs memory=" if memory is None else "is off, and memory= was given"
            raise ValueError(f"The crosser {word}: an encoder's side output (B, S, h).")
        if memory is not None:
            size = (rows, memory.shape[1], self.side_dim)
            if tuple(memory.shape) != size:
                raise ValueError(f"memory of shape {tuple(memory.shape)}, expected {size}.")
        if memory_mask is not None and (
            memory is None or tuple(memory_mask.shape) != tuple(memory.shape[:2])
        ):
            raise ValueError(
                f"A memory_mask of shape {tuple(memory_mask.shape)}, not that of the memory."
            )

    def _interact(
        self,
        query: torch.Tensor,
        states: list[torch.Tensor],
        mask: torch.Tensor | None,
        position: int | torch.Tensor,
    ) -> torch.Tensor:
        """F of guide (B, Q, h) and taps (B, N, h), in float32 at least."""
        with torch.autocast(query.device.type, enabled=False):
            query, states = wide(query), [wide(state) for state in states]
            shares = confidence(query, states, mask, self.gate, self.causal)
            residuals: list[torch.Tensor | None] = [None] * len(states)
            if self.residual == "identity":
                residuals = [*states]
            elif self.residual == "index":
                rows = torch.arange(query.shape[0], device=query.device)
                residuals = [state[rows, position][:, None] for state in states]
            return mix(query, states, mask, shares, residuals, self.guard, self.causal)


@MODELS.register_module(name="UniPTSide")
def side_net(preset: str | None = None, **options: Any) -> SideNet:
    """Build a side network from a config, ``dict(type='UniPTSide', preset='clip_vil', ...)``.

    Args:
        preset (str, optional): Name of a published one, see :data:`.presets.PRESETS`.
        **options: Those of :class:`SideNet`; they take the place of the preset's.

    Raises:
        ValueError: If the preset is unknown, or the options are, see :class:`SideNet`.
    """
    if preset is None:
        return SideNet(**options)
    check_choice(preset, PRESETS, "preset")
    return SideNet(**{**PRESETS[preset], **options})
