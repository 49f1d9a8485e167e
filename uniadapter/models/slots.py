"""Slots: the kinds of places that a layer has, each empty until an adapter fills it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

Use = Callable[..., Any]
# Numbers of fillings in their order, of all slots.
_FILLINGS = count()


class Grid(NamedTuple):
    """How the tokens of an image lie: ``first`` tokens, then a row of patches after another.

    Attributes:
        frames (int): Frames N of a video; images (B * N, M, D) are N a video, in order.
        height (int): Rows of patches.
        width (int): Patches a row.
        first (int): Tokens in front of the patches. Defaults to 1, the class token.
    """

    frames: int
    height: int
    width: int
    first: int = 1


@dataclass(frozen=True)
class _Filling:
    """What an adapter does at a site, and what it needs for that."""

    use: Use
    reads: str
    local: bool
    grid: bool


class Slot:
    """A place where a term may enter, empty until an adapter fills it.

    It holds uses by name, and the one that is called :attr:`active` acts.

    Args:
        dim (int): Width of the features that a use is called with.
        out_dim (int, optional): Width of the term it returns. Defaults to ``dim``.
    """

    def __init__(self, dim: int, out_dim: int | None = None) -> None:
        self.dim = dim
        self.out_dim = dim if out_dim is None else out_dim
        self.enabled = True
        self.active = "default"
        # Terms that two slots add to one tensor are added in the order in which these were filled.
        self.filled_at = -1
        self._fillings: dict[str, _Filling] = {}

    @property
    def filled(self) -> bool:
        """Whether an adapter has filled the slot, under any name."""
        return bool(self._fillings)

    @property
    def local(self) -> bool:
        """Whether the term of a token needs that token alone, whichever use is active."""
        return all(filling.local for filling in self._fillings.values())

    def fill(
        self,
        use: Use,
        name: str = "default",
        reads: str = "output",
        local: bool = True,
        grid: bool = False,
    ) -> None:
        """Fill the slot.

        Args:
            use (Callable): Maps features (..., dim) to a term (..., out_dim).
            name (str): Name of the use. Defaults to ``'default'``.
            reads (str): ``'output'``, what the site's term is added to or computed behind, or
                ``'input'``, what went into the sub-layer. Defaults to ``'output'``.
            local (bool): Whether the term of a token needs that token alone. Where it does not,
                no path computes some tokens only, or puts texts behind each other. Defaults to
                True.
            grid (bool): Whether ``use`` is called with ``grid=`` as well. Defaults to False.

        Raises:
            ValueError: If the slot has a use of that name already, or ``reads`` is unknown.
        """
        if reads not in ("output", "input"):
            raise ValueError(f"reads={reads!r} is unknown: choose 'output' or 'input'.")
        if name in self._fillings:
            raise ValueError(
                f"This slot is filled already under the name {name!r}: clear() it before filling "
                "it again."
            )
        self._fillings[name] = _Filling(use, reads, local, grid)
        self.filled_at = next(_FILLINGS)

    def clear(self, name: str | None = None) -> None:
        """Take a use out of the slot, or all of them.

        Args:
            name (str, optional): Name of the use. Defaults to None: all.
        """
        if name is None:
            self._fillings.clear()
        else:
            self._fillings.pop(name, None)

    def withdrawn(self, name: str = "default") -> dict[str, Any] | None:
        """Take a use out, as arguments of :meth:`fill` that put it back; None where there is none.

        Args:
            name (str): Name of the use. Defaults to ``'default'``.
        """
        filling = self._fillings.get(name)
        if filling is None:
            return None
        self.clear(name)
        return {"name": name, **vars(filling)}

    def term(self, *seen: torch.Tensor, grid: Grid | None = None) -> Any:
        """The active use's term, or None where there is none.

        Args:
            *seen (Tensor): What the site shows, each (..., dim): the output first, then the input
                where it has one.
            grid (Grid, optional): How tokens lie, where they are those of images.

        Raises:
            ValueError: If the use reads an input that this site does not have, or needs a grid
                where tokens have none.
        """
        filling = self._fillings.get(self.active) if self.enabled else None
        if filling is None:
            return None
        if filling.reads == "input" and len(seen) < 2:
            raise ValueError("This site has no sub-layer, so no input to read: reads='output'.")
        x = seen[1] if filling.reads == "input" else seen[0]
        if not filling.grid:
            return filling.use(x)
        if grid is None:
            raise ValueError(
                "This adapter needs to know how tokens lie in frames, rows and columns, which "
                "this tower does not tell."
            )
        return filling.use(x, grid=grid)

    def add(self, to: torch.Tensor, *seen: torch.Tensor, grid: Grid | None = None) -> torch.Tensor:
        """Return ``to`` plus the term; ``to`` itself where there is none.

        Args:
            to (Tensor): (..., out_dim).
            *seen (Tensor): See :meth:`term`.
            grid (Grid, optional): See :meth:`term`.
        """
        term = self.term(*seen, grid=grid)
        return to if term is None else to + term

    @contextmanager
    def wrapped(self, around: Callable[[Use | None], Use]) -> Iterator[None]:
        """Inside the context another use acts in the place of the active one, to look at it.

        Args:
            around (Callable): Makes that use of the active one, or of None in an empty slot. What
                reads, and how, stays as it is.
        """
        name = self.active
        filling = self._fillings.get(name)
        if filling is None:
            self.fill(around(None), name)
        else:
            self._fillings[name] = replace(filling, use=around(filling.use))
        try:
            yield
        finally:
            if filling is None:
                self.clear(name)
            else:
                self._fillings[name] = filling


class OwnSlot(Slot):
    """A slot whose use is called with nothing: it brings what others attend to.

    What a token attends to is then no longer its row's tokens alone, so fast paths that lay rows
    otherwise step aside.
    """

    def fill(
        self,
        use: Use,
        name: str = "default",
        reads: str = "output",
        local: bool = False,
        grid: bool = False,
    ) -> None:
        """As :meth:`Slot.fill`; there is nothing to read."""
        super().fill(use, name, reads, local, grid)

    def own(self) -> Any:
        """What the active use brings, or None where there is none."""
        filling = self._fillings.get(self.active) if self.enabled else None
        return None if filling is None else filling.use()


class KeySlot(OwnSlot):
    """A place in front of the keys and values of an attention, for others that are always seen.

    A use returns keys and values, each (l, dim).
    """

    def extend(
        self, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Put the active use's keys and values in front; the arguments themselves without one.

        Args:
            key (Tensor): (B, H, S, dim/H).
            value (Tensor): (B, H, S, dim/H).
            mask (Tensor, optional): Bool, broadcastable to (B, H, L, S), True is visible.

        Returns:
            tuple: The same with l + S in the place of S.
        """
        brought = self.own()
        if brought is None:
            return key, value, mask
        batch, heads = key.shape[:2]
        key, value = (
            torch.cat(
                (own.unflatten(-1, (heads, -1)).transpose(0, 1).expand(batch, -1, -1, -1), x), 2
            )
            for own, x in zip((part.to(key.dtype) for part in brought), (key, value), strict=True)
        )
        if mask is not None:
            seen = mask.new_ones(*mask.shape[:-1], key.shape[2] - mask.shape[-1])
            mask = torch.cat((seen, mask), -1)
        return key, value, mask


class TokenSlot(OwnSlot):
    """A place in front of a layer, behind the first token, for tokens that others attend to.

    They are dropped in front of the next layer that brings some, or behind the last one. A use
    returns tokens (n, dim).
    """

    def extend(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, n + L, dim) of (B, L, dim), which is returned itself where there are none."""
        own = self.own()
        if own is None:
            return x
        return torch.cat((x[:, :1], own.to(x.dtype).expand(x.shape[0], -1, -1), x[:, 1:]), 1)

    def longer(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask (B, n + L) of extended tokens of mask (B, L), 0 where a token is padding."""
        own = self.own()
        if own is None or mask is None:
            return mask
        return torch.cat((mask[:, :1], mask.new_ones(mask.shape[0], len(own)), mask[:, 1:]), 1)

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`extend`, of what became of the tokens."""
        own = self.own()
        return x if own is None else torch.cat((x[:, :1], x[:, 1 + len(own) :]), 1)


class FrontSlot(TokenSlot):
    """A place for tokens in front of a text, which stay there: what is read has their states."""

    def extend(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, n + L, dim) of (B, L, dim), which is returned itself where there are none."""
        own = self.own()
        if own is None:
            return x
        return torch.cat((own.to(x.dtype).expand(x.shape[0], -1, -1), x), 1)

    def longer(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask (B, n + L) of extended tokens of mask (B, L)."""
        own = self.own()
        return mask if own is None or mask is None else F.pad(mask, (len(own), 0), value=1)

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`extend`."""
        own = self.own()
        return x if own is None else x[:, len(own) :]


class AddedTokens:
    """The tokens that slots have put into a run: those of one layer at a time.

    Args:
        slot (TokenSlot, optional): Whose tokens are there from the start. Defaults to None.
    """

    def __init__(self, slot: TokenSlot | None = None) -> None:
        self._slot = slot

    def enter(
        self, slot: TokenSlot, x: torch.Tensor, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Tokens (B, L, dim) and their mask (B, L) as a layer with this slot sees them."""
        if slot is self._slot or slot.own() is None:
            return x, mask
        x, mask = self.drop(x), mask if mask is None else self.drop(mask[..., None])[..., 0]
        self._slot = slot
        return slot.extend(x), slot.longer(mask)

    def grid(self, grid: Grid | None) -> Grid | None:
        """How tokens lie with those that were added."""
        if grid is None or self._slot is None:
            return grid
        own = self._slot.own()
        return grid._replace(first=grid.first + (0 if own is None else len(own)))

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """What became of the run's own tokens."""
        return x if self._slot is None else self._slot.drop(x)
