"""The BERT tower of BLIP and ALBEF: text encoder, multimodal encoder, body of the decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from uniadapter.registry import MODELS

from ...execution import Factor, Want, Words
from ...fast import FastPaths
from ...sites import LayerSites, Slot
from ..base import Begun
from .attention import first_tokens
from .cross import CrossInput, Delta
from .embeddings import BertEmbeddings
from .layer import BertLayer
from .packing import Packing, visible


class _Encoder(nn.Module):
    """The stack of layers under BERT's parameter name ``encoder.layer``."""

    def __init__(self, layers: list[BertLayer]) -> None:
        super().__init__()
        self.layer: Any = nn.ModuleList(layers)


@MODELS.register_module()
class BertModel(nn.Module):
    """Post-LN BERT whose layers read texts alone, or texts and what cross-attention sees.

    BLIP's layers do both, each in a run of its own (``fusion_layer=0``): the same parameters serve
    as text encoder (``cross=None``) and as multimodal encoder, which starts from the words. ALBEF's
    lower layers are the text encoder and have no cross-attention; its multimodal encoder is the
    layers from ``fusion_layer`` on, which continue from the text encoder's states.

    Args:
        vocab_size (int): Words, ``[DEC]`` and ``[ENC]`` included where there are any. Defaults to
            30524.
        hidden_size (int): Width D. Defaults to 768.
        num_layers (int): Defaults to 12.
        num_heads (int): Defaults to 12.
        intermediate_size (int): Width of the feed-forward networks. Defaults to 3072.
        encoder_width (int): Width W of the states cross-attention reads. Defaults to 768.
        max_positions (int): Longest sequence in tokens. Defaults to 512.
        eps (float): LayerNorm epsilon. Defaults to 1e-12.
        dropout (float): Dropout of the hidden states. Defaults to 0.1, as BLIP.
        attention_dropout (float): Dropout of attention probabilities. Defaults to 0.1, as BLIP.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
        type_vocab_size (int): Rows of the table of token types, 2 in ALBEF. Defaults to 0: none.
        fusion_layer (int): First layer, from 0, that reads media, 6 in ALBEF. Defaults to 0: all
            of them do, and all run texts alone as well.
        layer_offset (int): What its layers' numbers begin with where adapters are looked up: 6 for
            ALBEF's decoder, whose layers are the encoder's from there on. Defaults to 0.

    Raises:
        ValueError: If ``hidden_size`` is no multiple of ``num_heads``, or ``fusion_layer`` is no
            layer.
    """

    def __init__(
        self,
        vocab_size: int = 30524,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        encoder_width: int = 768,
        max_positions: int = 512,
        eps: float = 1e-12,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        grad_checkpointing: bool = False,
        type_vocab_size: int = 0,
        fusion_layer: int = 0,
        layer_offset: int = 0,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(
                f"text.hidden_size={hidden_size} is no multiple of text.num_heads={num_heads}."
            )
        if not 0 <= fusion_layer < num_layers:
            raise ValueError(
                f"text.fusion_layer={fusion_layer} must be one of the layers, 0 to "
                f"{num_layers - 1}: those before it run texts alone."
            )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.encoder_width = encoder_width
        self.grad_checkpointing = grad_checkpointing
        self.fusion_layer = fusion_layer
        # Fused texts have run through the text layers already: they are not marked and begin anew.
        self.takes_states = fusion_layer > 0
        self.layer_offset = layer_offset
        self.embeddings = BertEmbeddings(
            vocab_size, hidden_size, max_positions, eps, dropout, type_vocab_size
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
                    dropout,
                    attention_dropout,
                    roles[i] if fusion_layer else ("text", "fusion"),
                )
                for i in range(num_layers)
            ]
        )
        self.kv_slot = Slot(encoder_width, hidden_size)
        self.apply(self._init_module)

    roles = ("text", "fusion")
    # Which fast paths its runs take; the model that it is a part of says so.
    fast = FastPaths.build(False)

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
        """Whether every term of a token needs that token alone, in a role."""
        return all(sites.local() for _, sites in self.sites(role))

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """The text role; see :class:`~uniadapter.models.backbones.base.Text`."""
        first = want == "first"
        # Who wants all tokens may look at those of padding as well.
        out, _ = self(*words, first_only=first, pack=first and self.fast.pack_texts)
        return out

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> CrossInput:
        """The fusion role; see :class:`~uniadapter.models.backbones.base.Reader`."""
        recompute = owner is not None and self.fast.recompute_kv
        if owner is not None:
            media = owner
            if self.fast.share_kv:
                # Media are projected once each, however many pairs they are in.
                media, owner = torch.unique(owner, return_inverse=True)
            else:
                owner = None
            states = states[media]
            mask = None if mask is None else mask[media]
        absorb = owner is None and self.fast.absorb_kv
        cross = replace(self.read(states, mask, owner, absorb), recompute=recompute)
        return cross if factor is None else cross.with_weights(*factor)

    def fuse(
        self,
        words: Words,
        memory: CrossInput,
        want: Want = "all",
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The fusion role; see :class:`~uniadapter.models.backbones.base.Fusion`."""
        first, pack = want == "first" and self.fast.class_tokens, self.fast.pack_texts
        words = self._marked(words)
        out, _ = self(*words, memory, first_only=first, pack=pack, states=states)
        return out[:, :1] if want == "first" else out

    def begin(
        self, words: Words, states: torch.Tensor | None = None, rows: Packing | None = None
    ) -> Begun:
        """The fusion role: ``[ENC]`` in the place of ``[CLS]``, and layer 1's self-attention.

        Or, where it continues from the text's states, those and the next layer's self-attention.
        """
        words = self._marked(words)
        if rows is not None:
            return Begun(rows, self.attend_first(words.ids, rows, states))
        self._check(*words, None, 0, states)
        mask = self._self_mask(words.mask, words.ids.shape[1], 0, False, words.ids.device)
        x = self.embeddings(words.ids) if states is None else states
        if states is None and self.takes_states:
            x, _ = self._layers(x, mask, None)
        x, _ = self.encoder.layer[self.fusion_layer].attend(x, mask, "fusion")
        return Begun(mask, x)

    def finish(self, begun: Begun, memory: CrossInput, want: Want = "all") -> torch.Tensor:
        """The fusion role: from the first fusing layer's cross-attention on."""
        rows, x = begun
        if isinstance(rows, Packing):
            return self.forward_packed(x, rows, memory)[:, None]
        memory.check(len(x))
        x = self.encoder.layer[self.fusion_layer].complete(x, memory, 0)
        for i in range(self.fusion_layer + 1, self.num_layers):
            x, _ = self._run(i, x, rows, memory, None, False)
        return x[:, :1] if want == "first" else x

    def _marked(self, words: Words) -> Words:
        """Texts with ``[ENC]``, the last word of the vocabulary, in the place of ``[CLS]``.

        Not where fusion continues from the text's states.
        """
        if self.takes_states:
            return words
        first = torch.full_like(words.ids[:, :1], self.vocab_size - 1)
        return Words(torch.cat((first, words.ids[:, 1:]), 1), words.mask)

    def read(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        absorb: bool = False,
    ) -> CrossInput:
        """Prepare states for cross-attention; they are projected inside each layer.

        Args:
            states (Tensor): (V, S, W).
            mask (Tensor, optional): (V, S), 0 or False where a state is padding.
            owner (Tensor, optional): (P,) long: which medium a text reads.
            absorb (bool): Let layers read the states without projecting them where that takes
                fewer operations. Defaults to False.

        Returns:
            CrossInput: To be passed as ``cross``.

        Raises:
            ValueError: If the states' width is not ``encoder_width``, or the mask has another
                shape.
        """
        if states.dim() != 3 or states.shape[-1] != self.encoder_width:
            raise ValueError(
                f"Cross-attention reads states (V, S, {self.encoder_width}), the last number being "
                f"encoder_width; got {tuple(states.shape)}."
            )
        if mask is not None and mask.shape != states.shape[:2]:
            raise ValueError(
                f"The mask of states of shape {tuple(states.shape)} must be "
                f"{tuple(states.shape[:2])}, got {tuple(mask.shape)}."
            )
        delta, zero = self.kv_slot.term(states), None
        if delta is not None:
            zero = self.kv_slot.term(states.new_zeros(1, 1, states.shape[-1]))
        return CrossInput(
            states=states,
            delta=delta,
            delta_zero=zero,
            owner=owner,
            mask=None if mask is None else visible(mask),
            absorb=absorb,
        )

    def project(self, cross: CrossInput) -> CrossInput:
        """Project the states of ``cross`` to every layer's keys and values, once."""
        if cross.states is None:
            return cross
        projected = [
            layer.crossattention.self.project(cross.states, cross.delta, cross.delta_zero)
            for layer in self.encoder.layer[self.fusion_layer :]
        ]
        return replace(cross, states=None, delta=None, delta_zero=None, projected=projected)

    @staticmethod
    def _self_mask(
        attention_mask: torch.Tensor | None,
        length: int,
        past: int,
        causal: bool,
        device: torch.device,
    ) -> torch.Tensor | None:
        """Boolean mask (B or 1, 1, L or 1, past + L): True where a query sees a key."""
        mask = None if attention_mask is None else visible(attention_mask)[:, None, None, :]
        if causal:
            rows = torch.arange(past, past + length, device=device)[:, None]
            seen = torch.arange(past + length, device=device)[None, :] <= rows
            mask = seen[None, None] if mask is None else mask & seen
        return mask

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cross: CrossInput | None = None,
        causal: bool = False,
        past: list[Delta] | None = None,
        first_only: bool = False,
        pack: bool = False,
        states: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[Delta]]:
        """Encode texts.

        Args:
            input_ids (Tensor): (B, L) word ids.
            attention_mask (Tensor, optional): (B, past + L), 0 where a token is padding.
            cross (CrossInput, optional): From :meth:`read` or :meth:`project`. None: text only.
            causal (bool): Whether a token sees only itself and earlier ones. Defaults to False.
            past (list, optional): Self-attention keys and values of earlier tokens, one a layer.
            first_only (bool): Compute only the first token in the last layer, where nothing else is
                read of the output. Defaults to False.
            pack (bool): Compute nothing for padding, where all of it is on the right; its states
                are zero then. Keys and values are as wide as the longest text. Defaults to False.
            states (Tensor, optional): (B, L, D), the text run's of these words, which a fused run
                continues from with ``fusion_layer``. None: it computes them.

        Returns:
            tuple: Hidden states (B, L, D), or (B, 1, D) with ``first_only``, and the keys and
            values of all tokens, one a layer.

        Raises:
            ValueError: If ``first_only`` or ``pack`` meets a causal or cached run, or a shape is
                another one than documented.
        """
        if (first_only or pack) and (causal or past is not None):
            name = "first_only" if first_only else "pack"
            raise ValueError(f"{name} is for whole texts, not for causal or cached runs.")
        offset = 0 if past is None else past[0][0].shape[2]
        local = self.local("text") if cross is None or self.fusion_layer else True
        local = local and (cross is None or self.local("fusion"))
        if (first_only or pack) and not local:
            # What some terms need of other tokens is there only where all of them are computed.
            x, presents = self.forward(input_ids, attention_mask, cross, states=states)
            return (x[:, :1] if first_only else x), presents
        self._check(input_ids, attention_mask, cross, offset, states)
        # Packed texts of one medium share an attention, whether or not there is padding.
        shared = cross is not None and cross.owner is not None
        packing = Packing.of_mask(attention_mask, not shared) if pack else None
        if packing is not None:
            return self._packed(input_ids, packing, cross, first_only, states)
        x = self.embeddings(input_ids, offset) if states is None else states
        mask = self._self_mask(attention_mask, x.shape[1], offset, causal, x.device)
        start = 0 if states is None else self.fusion_layer
        return self._layers(x, mask, cross, past, first_only, start)

    def _layers(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | Packing | None,
        cross: CrossInput | None,
        past: list[Delta] | None = None,
        first_only: bool = False,
        start: int = 0,
    ) -> tuple[torch.Tensor, list[Delta]]:
        """Run texts from a layer on, up to the last of texts alone, or with ``cross`` the last."""
        presents, depth = [], self.num_layers
        if cross is None and self.fusion_layer:
            depth = self.fusion_layer
        for i in range(start, depth):
            seen = cross if i >= self.fusion_layer else None
            last = first_only and i == depth - 1
            x, present = self._run(i, x, mask, seen, None if past is None else past[i], last)
            presents.append(present)
        return x, presents

    def _check(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        cross: CrossInput | None,
        offset: int,
        states: torch.Tensor | None = None,
    ) -> None:
        """Refuse shapes that broadcasting would make something of, and texts that are too long."""
        if input_ids.dim() != 2 or not input_ids.shape[1]:
            raise ValueError(
                f"input_ids must be (B, L), L at least 1; got {tuple(input_ids.shape)}."
            )
        texts, length = input_ids.shape
        if attention_mask is not None and attention_mask.shape != (texts, offset + length):
            raise ValueError(
                f"The attention_mask of input_ids of shape {(texts, length)} must be "
                f"{(texts, offset + length)}, got {tuple(attention_mask.shape)}."
            )
        self.embeddings.check(offset + length)
        if states is not None and not self.takes_states:
            raise ValueError("This tower's fused runs begin with words: it takes no text states.")
        if states is not None and states.shape != (texts, length, self.hidden_size):
            raise ValueError(
                f"The text states of input_ids of shape {(texts, length)} must be "
                f"{(texts, length, self.hidden_size)}, got {tuple(states.shape)}."
            )
        if cross is not None:
            cross.check(texts)
            reading = self.num_layers - self.fusion_layer
            layers = reading if cross.projected is None else len(cross.projected)
            if layers != reading:
                raise ValueError(
                    f"Keys and values of {layers} layers were projected for another tower than "
                    f"this one of {reading} that read them."
                )

    def _packed(
        self,
        input_ids: torch.Tensor,
        packing: Packing,
        cross: CrossInput | None,
        first_only: bool,
        states: torch.Tensor | None,
    ) -> tuple[torch.Tensor, list[Delta]]:
        """As :meth:`forward`, of texts (B, L) without their padding."""
        x = self._pack(input_ids, packing, states)
        cross = None if cross is None else cross.packed(packing)
        start = 0 if states is None else self.fusion_layer
        x, presents = self._layers(x, packing, cross, None, first_only, start)
        if first_only:
            return x.transpose(0, 1), presents
        states = packing.unpack(x)
        # As wide as the texts that were given, which may be padded beyond the longest.
        missing = input_ids.shape[1] - states.shape[1]
        return F.pad(states, (0, 0, 0, missing)) if missing else states, presents

    def _pack(
        self, input_ids: torch.Tensor, packing: Packing, states: torch.Tensor | None
    ) -> torch.Tensor:
        """Packed texts (1, T, D): their embeddings, or states that are given."""
        ids = packing.trim(input_ids)
        return packing.pack(self.embeddings(ids) if states is None else packing.trim(states))

    def _run(
        self,
        index: int,
        x: torch.Tensor,
        mask: torch.Tensor | Packing | None,
        cross: CrossInput | None,
        past: Delta | None,
        first_only: bool,
    ) -> tuple[torch.Tensor, Delta]:
        """Run one layer, recomputed in the backward pass where that is asked for."""
        number = index - self.fusion_layer
        layer, args = self.encoder.layer[index], (x, mask, cross, number, past, first_only)
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(layer, *args, use_reentrant=False)
        return layer(*args)

    def attend_first(
        self, input_ids: torch.Tensor, packing: Packing, states: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What depends on the texts alone: up to the self-attention of the first fusing layer.

        Args:
            input_ids (Tensor): (P, W) word ids, W at least the longest text.
            packing (Packing): The packing of these texts.
            states (Tensor, optional): See :meth:`forward`.

        Returns:
            Tensor: Packed texts (1, T, D), to be continued by :meth:`forward_packed`.
        """
        self.embeddings.check(input_ids.shape[1])
        x = self._pack(input_ids, packing, states)
        if states is None and self.takes_states:
            x = self._layers(x, packing, None)[0]
        return self.encoder.layer[self.fusion_layer].attend(x, packing, "fusion")[0]

    def forward_packed(
        self, attended: torch.Tensor, packing: Packing, cross: CrossInput
    ) -> torch.Tensor:
        """Run packed texts that all read one medium, from where :meth:`attend_first` ended.

        Args:
            attended (Tensor): From :meth:`attend_first`, (1, T, D).
            packing (Packing): The packing of P texts.
            cross (CrossInput): One medium, with frame weights (P, S) or without.

        Returns:
            Tensor: States of the texts' first tokens, (P, D).

        Raises:
            ValueError: If ``cross`` has several media or does not fit P texts.
        """
        media = cross.size()[0]
        if media != 1:
            raise ValueError(f"Packed texts read one medium here, got {media}.")
        cross.check(len(packing.first))
        weights = cross.weights
        # A factor for every token, but in the last layer, where every text is one token.
        of_tokens = None if weights is None else weights[packing.text]
        middle = cross.with_weights(of_tokens, cross.weigh_states)
        begin, last = self.fusion_layer, self.num_layers - 1
        first = self.encoder.layer[begin]
        if last == begin:
            return first.complete(first_tokens(attended, packing), cross, 0)[0]
        x = first.complete(attended, middle, 0)
        for i in range(begin + 1, last):
            x, _ = self._run(i, x, packing, middle, None, False)
        return self._run(last, x, packing, cross, None, True)[0][0]
