"""What every task lets a config choose beside towers, adapter and heads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelOptions:
    """What is trained, and how it is computed.

    Args:
        train_backbone (bool): Train everything (full fine-tuning). Defaults to False.
        train_norms (bool): Train the norms of the towers. Defaults to False.
        train_biases (bool): Train every bias of the towers. Defaults to False.
        train_heads (bool): Train the heads. Defaults to True.
        grad_checkpointing (bool): Recompute tower layers in the backward pass. Defaults to False.
        fast (bool | dict, optional): Fast paths, see :class:`FastPaths`; all are on by default and
            change no result.
        prefix_cache (dict, optional): Keep what the frozen lower visual layers make of a frame on
            disk: ``dir``, ``dtype``, ``max_gib`` and ``train``, see :class:`PrefixCache`.
            Defaults to None: nothing is kept.
        pretrained (str, optional): Weights that ``init_weights`` loads; the constructor never reads
            a file.
    """

    train_backbone: bool = False
    train_norms: bool = False
    train_biases: bool = False
    train_heads: bool = True
    grad_checkpointing: bool = False
    fast: bool | dict | None = None
    prefix_cache: dict | None = None
    pretrained: str | None = None
