"""The BERT tower of BLIP and ALBEF: text encoder, multimodal encoder, body of the decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ...execution import Execution, Factor, PaddedRows, PairMemory, Want, Words
from ...sites import LayerSites, Slot, TokenSlot
from ..base import Begun, check_states, run_layer
from .embeddings import BertEmbeddings
from .layer import BertLayer
from .options import BertOptions


class _Encoder(nn.Module):
    """The stack of layers under BERT's parameter name ``encoder.layer``."""

    def __init__(self, layers: list[BertLayer]) -> None:
        super().__init__()
        self.layer: Any = nn.ModuleList(layers)


@MODELS.register_module()
class BertModel(nn.Module):
    """Post-LN BERT whose layers read texts alone, or texts and what cross-attention sees.

    BLIP's layers do both, each in a run of its own (``fusion_layer=0``): the same parameters serve
    as text encoder (``memory=None``) and as multimodal encoder, which starts from the words. The
    lower layers of ALBEF are the text encoder and have no cross-attention; its multimodal encoder
    is the layers from ``fusion_layer`` on, which continue from the text encoder's states.

    Args:
        vocab_size (int): Words, ``[DEC]`` and ``[ENC]`` included where there are any. Defaults to
            30524.
        hidden_size (int): Width D. Defaults to 768.
        num_layers (int): Defaults to 12.
        num_heads (int): Defaults to 12.
        intermediate_size (int): Width of the feed-forward networks. Defaults to 3072.
        encoder_width (int): Width W of the states cross-attention reads. Defaults to 768.
        **options: Those of :class:`BertOptions`.

    Raises:
        ValueError: If ``hidden_size`` is no multiple of ``num_heads``, or ``fusion_layer`` is no
            layer.
    """

    Options: type = BertOptions

    def __init__(
        self,
        vocab_size: int = 30524,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        encoder_width: int = 768,
        **options: Any,
    ) -> None:
        super().__init__()
        chosen = BertOptions(**options)
        eps, fusion_layer = chosen.eps, chosen.fusion_layer
        if hidden_size % num_heads:
            raise ValueError(
                f"text.hidden_size={hidden_size} is no multiple of text.num_heads={num_heads}."
            )
        if not 0 <= fusion_layer < num_layers + ("fusion" not in self.roles):
            raise ValueError(
                f"text.fusion_layer={fusion_layer} must be one of the layers, 0 to "
                f"{num_layers - 1}: those before it run texts alone."
            )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.encoder_width = encoder_width
        self.grad_checkpointing = chosen.grad_checkpointing
        self.fusion_layer = fusion_layer
        # Fused texts have run through the text layers already: they are not marked and begin anew.
        self.takes_states = fusion_layer > 0
        self.layer_offset = chosen.layer_offset
        self.embeddings = BertEmbeddings(
            vocab_size,
            hidden_size,
            chosen.max_positions,
            eps,
            chosen.dropout,
            chosen.type_vocab_size,
        )
        roles = [("text",)] * fusion_layer + [("fusion",)] * (num_layers - fusion_layer)
        self.encoder = _Encoder(
            [
                BertLayer(
                    hidden_size,
                    num_heads,
                    intermediate_size,
                    encoder_width,
                    eps,
                    chosen.dropout,
                    chosen.attention_dropout,
                    roles[i] if fusion_layer else ("text", "fusion"),
                )
                for i in range(num_layers)
            ]
        )
        for at in self.encoder.layer[0].at.values():
            at.slots["tokens"] = TokenSlot(hidden_size)
        self.kv_slot = Slot(encoder_width, hidden_size)
        # The model that the tower is a part of gives it its own.
        self.execution = Execution()
        self.apply(self._init_module)

    roles: tuple[str, ...] = ("text", "fusion")

    @staticmethod
    def _init_module(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def sites(self, role: str) -> list[tuple[int, LayerSites]]:
        """Sites of the layers in a role, ``'text'`` or ``'fusion'``, with their numbers from 0."""
        layers = enumerate(self.encoder.layer, self.layer_offset)
        return [(index, layer.at[role]) for index, layer in layers if role in layer.at]

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers that run in a role, in order."""
        return [layer for layer in self.encoder.layer if role in layer.at]

    def place(self, words: Words) -> None:
        """Where the token that stands for a text is: it is the first."""

    def check_length(self, length: int, key: str | None = None) -> None:
        """Refuse texts of more tokens than there are positions; see :func:`check_length`."""
        self.embeddings.check(length, key)

    def local(self, role: str) -> bool:
        """Whether every term of a token needs that token alone, in a run of the role."""
        runs = ("text", "fusion") if self.takes_states and role == "fusion" else (role,)
        return all(sites.local() for run in runs for _, sites in self.sites(run))

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """The text role; see :class:`~uniadapter.models.backbones.base.Text`."""
        return self(*words, want=want)

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> PairMemory:
        """The fusion role; see :class:`~uniadapter.models.backbones.base.Reader`."""
        check_states(self.encoder_width, states, mask, owner, factor)
        return self.execution.memory(self, states, mask, owner, factor)

    def fuse(
        self,
        words: Words,
        memory: PairMemory,
        want: Want = "all",
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The fusion role; see :class:`~uniadapter.models.backbones.base.Fusion`."""
        return self(*self._marked(words), memory, want, padding=False, states=states)

    def begin(
        self, words: Words, states: torch.Tensor | None = None, rows: PaddedRows | None = None
    ) -> Begun:
        """The fusion role: ``[ENC]`` in the place of ``[CLS]``, and layer 1's self-attention.

        Or, where it continues from the text's states, those and the next layer's self-attention.
        """
        ids, mask = self._marked(words)
        self.check(ids, mask, states=states)
        states = self._states_without(ids, mask, states)
        added = self._added("fusion")
        if rows is None:
            longer = mask if added is None else added.longer(mask)
            rows = self.execution.rows(longer, self.local("fusion"), padding=False)
        x = rows.lay(self.embeddings(ids, 0, added) if states is None else states)
        if states is None:
            x = self._layers(x, rows, None, 0, self.fusion_layer)
        layer = self.encoder.layer[self.fusion_layer]
        return Begun(rows, layer.attend(x, self.fusion_layer, rows, "fusion"))

    def finish(self, begun: Begun, memory: PairMemory, want: Want = "all") -> torch.Tensor:
        """The fusion role: from the first fusing layer's cross-attention on."""
        (rows, x), start = begun, self.fusion_layer
        memory.check(rows.shape(x)[0])
        if start == self.num_layers - 1:
            rows = rows.last(want)
            x = rows.asking(x)
        x = self.encoder.layer[start].complete(x, start, rows, memory)
        return self._run(x, rows, memory, want, start + 1)

    def _marked(self, words: Words) -> Words:
        """Texts with ``[ENC]``, the last word of the vocabulary, in the place of ``[CLS]``.

        Not where fusion continues from the text's states.
        """
        if self.takes_states:
            return words
        ids = words.ids.clone()
        ids[:, 0] = self.vocab_size - 1
        return Words(ids, words.mask)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        memory: PairMemory | None = None,
        want: Want = "all",
        rows: PaddedRows | None = None,
        padding: bool = True,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Encode texts.

        Args:
            input_ids (Tensor): (T, L) word ids.
            attention_mask (Tensor, optional): (T, L), 0 where a token is padding.
            memory (PairMemory, optional): From :meth:`memory`. None: texts on their own.
            want (str): ``'all'`` tokens, or ``'first'``, where nothing else is read. Defaults to
                ``'all'``.
            rows (PaddedRows, optional): How they lie. Defaults to what the execution chooses.
            padding (bool): Whether states at padding will be looked at; otherwise they may be
                anything, such as zero. Defaults to True.
            states (Tensor, optional): (T, L, D), the text run's of these words, which a fused run
                continues from with ``fusion_layer``. None: it computes them.

        Returns:
            Tensor: (T, L, D), or (T, 1, D) of the first tokens.

        Raises:
            ValueError: If a shape is another one than documented, or a text is too long.
        """
        before = 0 if rows is None else rows.before
        self.check(input_ids, attention_mask, before, states)
        if memory is not None:
            memory.check(input_ids.shape[0])
        role = "text" if memory is None else "fusion"
        if memory is not None:
            states = self._states_without(input_ids, attention_mask, states)
        added = self._added(role) if before == 0 else None
        if rows is None:
            longer = attention_mask if added is None else added.longer(attention_mask)
            padding = padding and want == "all"
            rows = self.execution.rows(longer, self.local(role), memory, padding)
        x = rows.lay(self.embeddings(input_ids, before, added) if states is None else states)
        return self._run(x, rows, memory, want, 0 if states is None else self.fusion_layer)

    def _added(self, role: str) -> TokenSlot | None:
        """The slot of tokens that are put behind the first one in a run that begins with words."""
        at = self.encoder.layer[0].at.get(role)
        slot: TokenSlot | None = None if at is None else at.slots.get("tokens")
        return slot if slot is not None and slot.filled else None

    def _states_without(
        self, ids: torch.Tensor, mask: torch.Tensor | None, states: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Text states that a fused run continues from, where tokens are in the text's run alone."""
        if states is None and self.takes_states and self._added("text") is not None:
            return self.states(Words(ids, mask))
        return states

    def _run(
        self, x: torch.Tensor, rows: PaddedRows, memory: PairMemory | None, want: Want, start: int
    ) -> torch.Tensor:
        """From layer ``start`` to the end: that of texts alone, or of texts that read."""
        alone = memory is None and self.takes_states
        end = self.fusion_layer if alone else self.num_layers
        x = self._layers(x, rows, memory, start, end - 1)
        if start < end:
            rows = rows.last(want)
            x = self._layers(x, rows, memory, end - 1, end)
        x, added = rows.out(x, want), self._added("text" if memory is None else "fusion")
        return x if added is None or want == "first" else added.drop(x)

    def _layers(
        self, x: torch.Tensor, rows: PaddedRows, memory: PairMemory | None, start: int, end: int
    ) -> torch.Tensor:
        for index in range(start, end):
            read = memory if index >= self.fusion_layer else None
            x = run_layer(self, self.encoder.layer[index], x, index, rows, read)
        return x

    def check(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        before: int = 0,
        states: torch.Tensor | None = None,
    ) -> None:
        """Refuse shapes that broadcasting would make something of, and texts that are too long.

        Args:
            ids (Tensor): (T, L).
            mask (Tensor, optional): (T, before + L).
            before (int): Tokens of these texts that have run before. Defaults to 0.
            states (Tensor, optional): (T, L, D), see :meth:`forward`.

        Raises:
            ValueError: If a shape is another one, or there are not as many positions.
        """
        if ids.dim() != 2 or not ids.shape[1]:
            raise ValueError(f"input_ids must be (B, L), L at least 1; got {tuple(ids.shape)}.")
        texts, length = ids.shape
        whole = (texts, before + length)
        if mask is not None and mask.shape != whole:
            raise ValueError(
                f"The attention_mask of input_ids of shape {(texts, length)} must be {whole}, got "
                f"{tuple(mask.shape)}."
            )
        self.embeddings.check(whole[1])
        if states is not None and not self.takes_states:
            raise ValueError("This tower's fused runs begin with words: it takes no text states.")
        if states is not None and states.shape != (texts, length, self.hidden_size):
            raise ValueError(
                f"The text states of input_ids of shape {(texts, length)} must be "
                f"{(texts, length, self.hidden_size)}, got {tuple(states.shape)}."
            )
