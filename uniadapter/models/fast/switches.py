"""Switches of the fast paths: each gives the same numbers as the plain way it replaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class FastPaths:
    """Which fast paths a model takes; docs/performance.md has what each of them saves.

    Attributes:
        share_prefix (bool): Run the visual layers below the first trained term once, without a
            graph, for the online and the momentum model together.
        class_tokens (bool): Where only the class token is read, compute only that token in the
            last layer (features of both towers, matching).
        fold_texts (bool): Re-rank with a medium's keys and values projected once, its texts packed
            without padding along the query axis. False: a copy of the medium for every text.
        first_layer_once (bool): Compute what a text runs through before it reads a medium once for
            the whole evaluation: the first layer's self-attention, on ALBEF the text layers too.
        pack_texts (bool): Where texts are encoded or matched in training, and questions always, run
            them behind each other without padding; with ``share_kv`` the texts of one medium share
            one attention, without copies of its keys and values.
        share_kv (bool): In training, project keys and values of a medium once for its positive and
            negative pairs. False: once a pair.
        recompute_kv (bool): In training of retrieval, project keys and values again in the backward
            pass rather than keep them: less memory, 4 to 5 % more operations.
        absorb_kv (bool): Where one short text reads a large medium (VQA, VideoQA, training of
            captions), take the weights of keys and values to the text's side rather than project
            every visual token.
        predicted_only (bool): Project the decoder's states to the vocabulary only where a word is
            to be predicted: neither at padding nor in a prompt.
        contrast_at_once (bool): Take the contrastive loss's gradients in the forward pass, so that
            the queue's candidates and logits are not kept for the backward pass.
    """

    share_prefix: bool = True
    class_tokens: bool = True
    fold_texts: bool = True
    first_layer_once: bool = True
    pack_texts: bool = True
    share_kv: bool = True
    recompute_kv: bool = True
    absorb_kv: bool = True
    predicted_only: bool = True
    contrast_at_once: bool = True

    @classmethod
    def build(cls, config: bool | Mapping[str, bool] | None) -> FastPaths:
        """Make the switches from the config key ``model.fast``.

        Args:
            config (bool | Mapping[str, bool], optional): True or None takes every fast path, False
                none; a dict switches those it names and takes the others.

        Returns:
            FastPaths: The switches.

        Raises:
            ValueError: If a name is unknown or a value is not a bool.
        """
        names = [field.name for field in fields(cls)]
        if config is None or isinstance(config, bool):
            return cls(**dict.fromkeys(names, config is not False))
        if not isinstance(config, Mapping):
            raise ValueError(f"model.fast={config!r} must be True, False or a dict of switches.")
        for name, value in config.items():
            if name not in names:
                raise ValueError(f"model.fast.{name} is unknown: choose from {names}.")
            if not isinstance(value, bool):
                raise ValueError(f"model.fast.{name}={value!r} must be True or False.")
        return cls(**config)
