"""What T5 and BART share: transformers' two stacks in their roles, and one table of words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from ..execution import Execution, Factor, PairMemory, Want, Words
from ..sites import LayerSites
from ..slots import FrontSlot
from .base import Past, check_states
from .hosted import HostedTower
from .libraries import of_transformers, recompute
from .writer import Ends, write

if TYPE_CHECKING:
    from ..generation import GenerationConfig

#: What a decoder's positions are too few for, in errors.
_WRITTEN = (
    "The length of a target (target_len), or of what is written (generation.max_length), marks "
    "and the prompt in front of a decoder included,"
)
#: What an architecture consists of.
SIZE_NAMES = ("hidden_size", "num_layers", "num_heads", "intermediate_size")


def sizes_of(
    arch: str | dict[str, int], sizes: Mapping[str, dict[str, int]], **defaults: int
) -> dict[str, int]:
    """Sizes of an architecture by name, or of a dict with all of them.

    Args:
        arch (str | dict): The architecture.
        sizes (Mapping): Architectures by name.
        **defaults (int): Further sizes that a dict may leave out.

    Raises:
        ValueError: If the name is unknown, or a size is missing, unknown or not above 0.
    """
    if isinstance(arch, str):
        if arch not in sizes:
            raise ValueError(f"arch={arch!r} is unknown: choose from {sorted(sizes)}, or a dict.")
        return {**defaults, **sizes[arch]}
    names, found = {*SIZE_NAMES, *defaults}, {**defaults, **arch}
    if set(found) != names or not all(isinstance(n, int) and n > 0 for n in found.values()):
        order = [*SIZE_NAMES, *defaults]
        raise ValueError(f"arch={arch!r} must have whole numbers above 0 for {order}.")
    return found


class NewWords(nn.Embedding):
    """Rows that lengthen a published table of words.

    They stay as they are drawn where the table is frozen, and no published file has them: whoever
    saves what was trained saves them too (``drawn``).
    """

    drawn = True


class _Run:
    """A stack in its role: a view, which registers nothing.

    Args:
        language (EncoderDecoder): Whose stack it is.
        stack (nn.Module): transformers' stack.
    """

    def __init__(self, language: EncoderDecoder, stack: Any) -> None:
        self.language, self.body = language, stack
        self.roles = language.roles
        self.hidden_size = language.hidden_size
        self._tower = HostedTower(stack)
        self.num_layers = len(self._tower.layers)
        #: In front of the first token, for a task that offers it as a site.
        self.front = FrontSlot(language.hidden_size)

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
        states = self.language.embed(words.ids)
        return self.body(inputs_embeds=states, attention_mask=words.mask, **options)


class Encoder(_Run):
    """The text role; see :class:`~uniadapter.models.backbones.base.Text`."""

    def place(self, words: Words) -> torch.Tensor | None:
        """No token stands for a text: all are read."""
        return None

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """States (B, L, D) behind the last layer, or (B, 1, D) of the first tokens."""
        states: torch.Tensor = self.run(words).last_hidden_state
        return states if want == "all" else states[:, :1]

    def stream(self, words: Words, behind: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run over texts and what stands behind them at once.

        Args:
            words (Words): Texts (B, L) and their mask.
            behind (Tensor): (B, N, D), all of it attended to.

        Returns:
            tuple: States (B, P + L + N, D), of the P tokens in front, the text and what is behind;
            and their mask, 0 where a token is padding.

        Raises:
            ValueError: If the mask is not one number a token.
        """
        ids, mask = words
        mask = torch.ones_like(ids) if mask is None else mask
        if mask.shape != ids.shape or len(behind) != len(ids):
            raise ValueError(
                f"Texts {tuple(ids.shape)} need a mask of that shape and as many rows behind them, "
                f"got {tuple(mask.shape)} and {tuple(behind.shape)}."
            )
        language = self.language
        x = self.front.extend(language.place(language.embed(ids)))
        mask = F.pad(self.front.longer(mask), (0, behind.shape[1]), value=1)  # type: ignore[arg-type]
        return language.read(x, behind, mask), mask


class Decoder(_Run):
    """The decoder role; see :class:`~uniadapter.models.backbones.base.Decoder`.

    ``past`` holds a pair of keys and values of self-attention a layer, and behind them those of
    cross-attention, which are projected once.
    """

    def __init__(self, language: EncoderDecoder, stack: Any) -> None:
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
        """States (B, L, D) behind the last layer, without a cache."""
        states: torch.Tensor = self.reading(words, memory, use_cache=False).last_hidden_state
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
        library = of_transformers("T5's and BART's stacks")
        own, cross = library.DynamicCache(), library.DynamicCache()
        for index in range(0 if past is None else self.num_layers):
            own.update(*past[index], index)  # type: ignore[index]
            cross.update(*past[self.num_layers + index], index)  # type: ignore[index]
        kept = library.EncoderDecoderCache(own, cross)
        out = self.reading(words, memory, past_key_values=kept, use_cache=True)
        found = [(key, value) for cache in (own, cross) for key, value, *_ in cache]
        return self.predict(out.last_hidden_state), found

    def reading(self, words: Words, memory: PairMemory, **options: Any) -> Any:
        """What the stack gives for words (B, L) that read."""
        memory.check(len(words.ids))
        states, mask = memory.read()
        return self.run(
            words,
            encoder_hidden_states=states.expand(len(words.ids), -1, -1),
            encoder_attention_mask=None if mask is None else mask.expand(len(words.ids), -1).long(),
            **options,
        )

    def run(self, words: Words, **options: Any) -> Any:
        """What the stack gives for words (B, L), behind the tokens in front where there are some.

        Those run alone, without anything to read, and leave keys and values of self-attention;
        words then have the positions behind them.

        Raises:
            ValueError: If there are more tokens than positions; or tokens in front and layers that
                are computed again in the backward pass, where keys and values are not kept.
        """
        own, kept = self.front.own(), options.get("past_key_values")
        known = 0 if kept is None else kept.get_seq_length()
        known = known or (0 if own is None else len(own))
        self.language.check_length(known + words.ids.shape[1], _WRITTEN)
        if own is None:
            return super().run(words, **options)
        if self.language.grad_checkpointing and self.body.training:
            raise ValueError(
                "Tokens in front of a decoder are kept as keys and values, which layers that are "
                "computed again do not read: set model.grad_checkpointing=False."
            )
        ids, mask = words
        options.pop("past_key_values", None)
        if kept is None:
            library = of_transformers("T5's and BART's stacks")
            kept = library.EncoderDecoderCache(library.DynamicCache(), library.DynamicCache())
        if not kept.get_seq_length():
            front = own.to(self.language.shared.weight.dtype).expand(len(ids), -1, -1)
            self.body(inputs_embeds=front, past_key_values=kept, use_cache=True)
        if mask is not None:
            missing = kept.get_seq_length() + ids.shape[1] - mask.shape[1]
            mask = F.pad(mask, (missing, 0), value=1)
        return super().run(Words(ids, mask), past_key_values=kept, **options)

    def write(
        self, memory: PairMemory, config: GenerationConfig, use_cache: bool = True
    ) -> torch.Tensor:
        """Write texts with transformers' ``generate``.

        Args:
            memory (PairMemory): B media.
            config (GenerationConfig): Beams and lengths.
            use_cache (bool): Keep keys and values of earlier words. Defaults to True.

        Returns:
            Tensor: Ids (B, T), the decoder's first token in front, padded behind the end.

        Raises:
            ValueError: If there are fewer positions than a text may need.
            NotFiniteError: If a score of a word is NaN.
        """
        own = self.front.own()
        # The last word is written, and not read again.
        longest = config.max_length - 1 + (0 if own is None else len(own))
        self.language.check_length(longest, _WRITTEN)
        return write(self, memory, config, use_cache)


class EncoderDecoder(nn.Module):
    """Base class of language models of two stacks: the encoder plays ``text``, the decoder its own.

    Tensors have transformers' names, tied ones once: ``shared.weight`` is the table of both stacks
    and the head's matrix. ``new_words.weight`` are rows behind it, where there are some.

    Args:
        shared (nn.Embedding): The table of transformers' model.
        stacks (tuple): Its encoder and its decoder, which are taken out of it.
        ends (Ends): Which tokens begin and end what is written.
        new_words (int): Rows behind the table.
        std (float): Their standard deviation, normal around 0.
        grad_checkpointing (bool): Recompute each layer in the backward pass.

    Raises:
        ValueError: If ``new_words`` is below 0.
    """

    roles: tuple[str, ...] = ("text", "decoder")

    def __init__(
        self,
        shared: nn.Embedding,
        stacks: tuple[Any, Any],
        ends: Ends,
        new_words: int,
        std: float,
        grad_checkpointing: bool,
    ) -> None:
        super().__init__()
        if not isinstance(new_words, int) or new_words < 0:
            raise ValueError(f"new_words={new_words!r} must be an int >= 0.")
        self.shared = shared
        self.encoder, self.decoder = stacks
        # Both are given embeddings, so that the one table is registered, saved and counted once.
        self.encoder.embed_tokens = self.decoder.embed_tokens = None
        self.vocab_size, self.hidden_size = shared.weight.shape
        #: Rows of the whole table.
        self.num_words = self.vocab_size + new_words
        self.new_words: NewWords | None = None
        if new_words:
            self.new_words = NewWords(new_words, self.hidden_size)
            nn.init.normal_(self.new_words.weight, std=std)
        self.ends = ends
        self.execution = Execution()
        self.grad_checkpointing = grad_checkpointing
        self._players: dict[str, Any] = {
            "text": Encoder(self, self.encoder),
            "decoder": Decoder(self, self.decoder),
        }

    def init_weights(self) -> None:
        """Keep the weights as they are: construction has initialised them."""

    def player(self, role: str) -> Any:
        """The stack that plays a role, ``'text'`` or ``'decoder'``."""
        return self._players[role]

    @property
    def grad_checkpointing(self) -> bool:
        """Whether each layer is recomputed in the backward pass."""
        return self._checkpoints

    @grad_checkpointing.setter
    def grad_checkpointing(self, value: bool) -> None:
        self._checkpoints = value
        recompute(self, value)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows (..., D) of the table for ids (...)."""
        if self.new_words is None:
            return self.shared(ids)
        known = self.shared(ids.clamp(max=self.vocab_size - 1))
        new = self.new_words((ids - self.vocab_size).clamp(min=0))
        return torch.where((ids < self.vocab_size)[..., None], known, new)

    def times_table(self, states: torch.Tensor) -> torch.Tensor:
        """Products (..., V) of states (..., D) with all rows of the table."""
        products = F.linear(states, self.shared.weight)
        if self.new_words is None:
            return products
        return torch.cat((products, F.linear(states, self.new_words.weight)), -1)

    @abstractmethod
    def words(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of states (..., D) of the decoder."""

    @abstractmethod
    def check_length(self, length: int, key: str | None = None) -> None:
        """Refuse texts of more tokens than there are positions."""

    @abstractmethod
    def place(self, x: torch.Tensor) -> torch.Tensor:
        """Add to embedded texts (B, L, D) what says where their tokens stand."""

    @abstractmethod
    def read(self, x: torch.Tensor, behind: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the encoder's layers.

        Args:
            x (Tensor): What stands in front, and texts, (B, K, D).
            behind (Tensor): What stands behind them, (B, N, D).
            mask (Tensor): (B, K + N), 0 where a token is padding.

        Returns:
            Tensor: States (B, K + N, D).
        """

    @abstractmethod
    def new_norm(self) -> nn.Module:
        """A norm of the kind that the layers have, for states of their width."""

    @abstractmethod
    def draw(self, module: nn.Module) -> None:
        """Draw the weights of a new part as those of the layers are drawn at the start."""


def added_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, 1, 1, S), to be added to similarities, of a mask (B, S) that is 0 at padding."""
    return (mask == 0)[:, None, None].to(dtype) * torch.finfo(dtype).min
