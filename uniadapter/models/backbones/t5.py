"""T5: transformers' encoder and decoder as they are, with sites by chart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..execution import Execution, Factor, PairMemory, Want, Words
from ..sites import LayerSites
from .base import Past, check_states
from .hosted import HostedTower
from .libraries import of_transformers, recompute

#: Published sizes: width, layers of each stack, heads, inner width of the feed-forward networks.
SIZES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 512, "num_layers": 6, "num_heads": 8, "intermediate_size": 2048},
    "base": {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096},
}
_NAMES = (*SIZES["base"], "head_dim")


def _sizes_of(arch: str | dict[str, int]) -> dict[str, int]:
    """Sizes of an architecture by name, or of a dict with all of them.

    Raises:
        ValueError: If the name is unknown, or a size is missing, unknown or not above 0.
    """
    if isinstance(arch, str):
        if arch not in SIZES:
            raise ValueError(f"arch={arch!r} is unknown: choose from {sorted(SIZES)}, or a dict.")
        return {"head_dim": 64, **SIZES[arch]}
    sizes = {"head_dim": 64, **arch}
    if set(sizes) != set(_NAMES) or not all(isinstance(n, int) and n > 0 for n in sizes.values()):
        raise ValueError(f"arch={arch!r} must have whole numbers above 0 for {list(_NAMES)}.")
    return sizes


class _Run:
    """A stack of T5 in its role: a view, which registers nothing.

    Args:
        language (T5): Whose stack it is.
        stack (nn.Module): transformers' ``T5Stack``.
    """

    def __init__(self, language: T5, stack: Any) -> None:
        self.language, self.body = language, stack
        self.roles = language.roles
        self.hidden_size = language.hidden_size
        self._tower = HostedTower(stack)
        self.num_layers = len(self._tower.layers)

    @property
    def execution(self) -> Execution:
        """How it runs; both stacks alike."""
        return self.language.execution

    @execution.setter
    def execution(self, execution: Execution) -> None:
        self.language.execution = execution

    def modules(self) -> Iterator[nn.Module]:
        """The stack and all modules in it."""
        return self.body.modules()

    def sites(self, role: str) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return self._tower.sites()

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers, in order."""
        return list(self._tower.layers)

    def local(self, role: str) -> bool:
        """Whether every term of a token needs that token alone."""
        return all(at.local() for _, at in self._tower.sites())

    def run(self, words: Words, **options: Any) -> Any:
        """What the stack gives for words (B, L)."""
        states = self.language.shared(words.ids)
        return self.body(inputs_embeds=states, attention_mask=words.mask, **options)


class _Encoder(_Run):
    """The text role; see :class:`~uniadapter.models.backbones.base.Text`."""

    def place(self, words: Words) -> torch.Tensor | None:
        """No token stands for a text: all are read."""
        return None

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """States (B, L, D) behind the final norm, or (B, 1, D) of the first tokens."""
        states: torch.Tensor = self.run(words).last_hidden_state
        return states if want == "all" else states[:, :1]


class _Decoder(_Run):
    """The decoder role; see :class:`~uniadapter.models.backbones.base.Decoder`.

    ``past`` holds a pair of keys and values of self-attention a layer, and behind them those of
    cross-attention, which are projected once.
    """

    def __init__(self, language: T5, stack: Any) -> None:
        super().__init__(language, stack)
        self.encoder_width = language.hidden_size

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> PairMemory:
        """What texts read; see :class:`~uniadapter.models.backbones.base.Reader`."""
        check_states(self.encoder_width, states, mask, owner, factor)
        if owner is not None:
            states, mask = states[owner], None if mask is None else mask[owner]
        return PairMemory(states, mask, factor)

    def states(self, words: Words, memory: PairMemory) -> torch.Tensor:
        """States (B, L, D) behind the final norm, without a cache."""
        states: torch.Tensor = self._read(words, memory, use_cache=False).last_hidden_state
        return states

    def predict(self, states: torch.Tensor, wanted: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, L, V) of states (B, L, D), or (N, V) of the wanted (B, L) positions."""
        if wanted is None:
            return self.language.words(states)
        return self.execution.logits(self.language.words, states, wanted)

    def logits(
        self,
        words: Words,
        memory: PairMemory,
        past: Past | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Past]:
        """See :class:`~uniadapter.models.backbones.base.Decoder`; nothing is kept by ``wanted``."""
        if wanted is not None:
            return self.predict(self.states(words, memory), wanted), []
        library = of_transformers("T5's stacks")
        own, cross = library.DynamicCache(), library.DynamicCache()
        for index in range(0 if past is None else self.num_layers):
            own.update(*past[index], index)  # type: ignore[index]
            cross.update(*past[self.num_layers + index], index)  # type: ignore[index]
        kept = library.EncoderDecoderCache(own, cross)
        out = self._read(words, memory, past_key_values=kept, use_cache=True)
        found = [(key, value) for cache in (own, cross) for key, value, *_ in cache]
        return self.predict(out.last_hidden_state), found

    def _read(self, words: Words, memory: PairMemory, **options: Any) -> Any:
        memory.check(len(words.ids))
        states, mask = memory.read()
        return self.run(
            words,
            encoder_hidden_states=states.expand(len(words.ids), -1, -1),
            encoder_attention_mask=None if mask is None else mask.expand(len(words.ids), -1).long(),
            **options,
        )


@MODELS.register_module()
class T5(nn.Module):
    """T5 v1.0, the stacks of transformers' ``T5ForConditionalGeneration``.

    The encoder plays ``text``, the decoder ``decoder``; tensors have transformers' names, tied ones
    once: ``shared.weight`` is the table of both stacks and the head's matrix, in front of which
    states are multiplied by D ** -0.5.

    Args:
        arch (str | dict): ``'small'``, ``'base'``, ``'large'``, or a dict with ``hidden_size``,
            ``num_layers`` (of each stack), ``num_heads``, ``intermediate_size`` and, if it is not
            64, ``head_dim``. Defaults to ``'base'``.
        vocab_size (int): Rows of the table; the published one has 28 that no word uses. Defaults to
            32128.
        dropout (float): Rate everywhere. Defaults to 0.1.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If ``arch`` is unknown or incomplete.
    """

    roles: tuple[str, ...] = ("text", "decoder")

    def __init__(
        self,
        arch: str | dict[str, int] = "base",
        vocab_size: int = 32128,
        dropout: float = 0.1,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        sizes, library = _sizes_of(arch), of_transformers("T5's stacks")
        config = library.T5Config(
            vocab_size=vocab_size,
            d_model=sizes["hidden_size"],
            d_kv=sizes["head_dim"],
            d_ff=sizes["intermediate_size"],
            num_layers=sizes["num_layers"],
            num_heads=sizes["num_heads"],
            dropout_rate=dropout,
        )
        built = library.T5ForConditionalGeneration(config)
        self.shared: nn.Embedding = built.shared
        self.encoder: Any = built.encoder
        self.decoder: Any = built.decoder
        # Both are given embeddings, so that the one table is registered, saved and counted once.
        self.encoder.embed_tokens = self.decoder.embed_tokens = None
        self.hidden_size, self.vocab_size = sizes["hidden_size"], vocab_size
        self.execution = Execution()
        self.grad_checkpointing = grad_checkpointing
        self._players: dict[str, _Run] = {
            "text": _Encoder(self, self.encoder),
            "decoder": _Decoder(self, self.decoder),
        }

    def init_weights(self) -> None:
        """Keep the weights as they are: construction has initialised them."""

    def player(self, role: str) -> Any:
        """The stack that plays a role, ``'text'`` or ``'decoder'``."""
        return self._players[role]

    def check_length(self, length: int, key: str | None = None) -> None:
        """Any length will do: positions are relative."""

    @property
    def grad_checkpointing(self) -> bool:
        """Whether each layer is recomputed in the backward pass."""
        return self._checkpoints

    @grad_checkpointing.setter
    def grad_checkpointing(self, value: bool) -> None:
        self._checkpoints = value
        recompute(self, value)

    def words(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of states (..., D) of the decoder."""
        return F.linear(states * self.hidden_size**-0.5, self.shared.weight)
