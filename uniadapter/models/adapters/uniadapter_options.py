"""UniAdapter's options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .base import check_choice, check_int

TOWERS = ("visual", "text", "cross")
SHARING = ("none", "down", "up", "down+up")


@dataclass(frozen=True)
class UniAdapterOptions:
    """What a config may say of a UniAdapter, which is what its file says too.

    Args:
        bottleneck (int): Width r. Defaults to 512.
        scale (float): Factor s. Defaults to 0.1.
        learnable_scale (bool): Train s, one scalar a layer. Defaults to False.
        towers (tuple[str]): Adapted modalities, any of ``'visual'``, ``'text'``, ``'cross'``; none
            leaves the key/value pair alone (``kv_rank``).
        layers (list[int] | str, optional): Adapted layers, counted from 1, such as ``'5-12'``
            (table 15). Defaults to None, all.
        sharing (str): ``'none'``, ``'down'``, ``'up'`` or ``'down+up'``. Defaults to ``'down'``.
        shared_layers (list[int] | str, optional): Layers that share (table 12), the others do
            not. Defaults to None, all.
        query_residual (str): ``'off'``, ``'shared'`` (the textual adapter itself) or ``'own'``
            (one more adapter, table 13). Acts in cross-modal layers only. Defaults to ``'shared'``.
        textual_branch (bool): Add the textual up-projection to the cross-modal one (table 14).
            Defaults to True.
        decoder (str): A decoder uses the adapters of the multimodal encoder (``'shared'``,
            appendix D) or ``'own'`` ones, of its own depth and width; a captioner's, which has no
            encoder, those of the visual tower's layers or its own. Defaults to ``'shared'``.
        variant (str): ``'paper'`` or ``'released'`` (with the norms of the released code).
        kv_rank (int): Rank of the released code's key/value pair; 0 leaves it out. Defaults to 0.
        dropout (float): Dropout of the bottleneck's activations. Defaults to 0.

    Raises:
        ValueError: If an option is outside its set, or options contradict one another.
    """

    bottleneck: int = 512
    scale: float = 0.1
    learnable_scale: bool = False
    towers: Iterable[str] = TOWERS
    layers: Iterable[int] | str | None = None
    sharing: str = "down"
    shared_layers: Iterable[int] | str | None = None
    query_residual: str = "shared"
    textual_branch: bool = True
    decoder: str = "shared"
    variant: str = "paper"
    kv_rank: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        towers = [self.towers] if isinstance(self.towers, str) else list(self.towers)
        object.__setattr__(self, "towers", towers)
        for name in ("layers", "shared_layers"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, name, list(value))
        self._check_sets(towers)
        if "cross" in towers and "text" not in towers:
            self._check_text(towers)

    def _check_sets(self, towers: list[str]) -> None:
        """Refuse what is outside of its set."""
        check_choice(self.sharing, SHARING, "adapter.sharing")
        check_choice(self.query_residual, ("off", "shared", "own"), "adapter.query_residual")
        check_choice(self.decoder, ("shared", "own"), "adapter.decoder")
        check_choice(self.variant, ("paper", "released"), "adapter.variant")
        for tower in towers:
            check_choice(tower, TOWERS, "adapter.towers")
        alone = not towers and self.kv_rank
        if len(set(towers)) != len(towers) or not (towers or alone):
            raise ValueError(
                f"adapter.towers={towers}: name one to three of {TOWERS}, each once; none only "
                "where adapter.kv_rank is above 0."
            )
        for key, least in (("bottleneck", 1), ("kv_rank", 0)):
            check_int(getattr(self, key), least, f"adapter.{key}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"adapter.dropout={self.dropout} must be in [0, 1).")

    def _check_text(self, towers: list[str]) -> None:
        """Refuse a use of the textual adapter where it is left out."""
        if self.query_residual == "shared":
            raise ValueError(
                "adapter.query_residual='shared' uses the textual adapter, but adapter.towers "
                f"is {towers}: add 'text', or set adapter.query_residual to 'off' or 'own'."
            )
        if self.textual_branch:
            raise ValueError(
                "adapter.textual_branch=True uses the textual up-projection, but "
                f"adapter.towers is {towers}: add 'text' or set adapter.textual_branch=False."
            )
