"""CLIP's two towers: those of transformers as they are, with sites by chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..execution import Want, Words
from ..sites import LayerSites, TokenSlot, Use
from .hosted import HostedTower
from .libraries import of_transformers, recompute
from .side_by_side import SideTower, TextSide, VisualSide, check_heads
from .vit import sizes_of


class ClipTower(SideTower):
    """What both towers are made of: a model of transformers with random weights, and its sites.

    Args:
        kind (str): ``'CLIPVision'`` or ``'CLIPText'``.
        grad_checkpointing (bool): Recompute each layer in the backward pass.
        **sizes: Options of transformers' config.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the width is no multiple of the attention heads.
    """

    def __init__(self, kind: str, grad_checkpointing: bool, **sizes: Any) -> None:
        super().__init__()
        check_heads(sizes["hidden_size"], sizes["num_attention_heads"])
        library = of_transformers("CLIP's towers")
        built = getattr(library, f"{kind}Model")(getattr(library, f"{kind}Config")(**sizes))
        # Until transformers 5 the tower stood inside a module of that name.
        self.model: Any = getattr(built, "vision_model", getattr(built, "text_model", built))
        self.num_layers: int = sizes["num_hidden_layers"]
        self.grad_checkpointing = grad_checkpointing
        self._tower = HostedTower(self.model, f"{kind}Model")

    @property
    def grad_checkpointing(self) -> bool:
        """Whether each layer is recomputed in the backward pass."""
        return self._checkpoints

    @grad_checkpointing.setter
    def grad_checkpointing(self, value: bool) -> None:
        self._checkpoints = value
        recompute(self.model, value)

    @property
    def layers(self) -> list[nn.Module]:  # type: ignore[override]
        """The layers, which are transformers'."""
        return self._tower.layers

    def layer_sites(self) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return self._tower.sites()


class LayerTokenSlot(TokenSlot):
    """A place for tokens in front of a layer that nobody wrote for it; empty, it leaves no hook.

    Args:
        dim (int): Width of the tokens.
        layer (nn.Module): The layer, whose first argument is the tokens.
        before (Sequence[TokenSlot]): Those of the layers in front of it, in order.
    """

    def __init__(self, dim: int, layer: nn.Module, before: Sequence[TokenSlot]) -> None:
        super().__init__(dim)
        self._layer, self._before, self._handle = layer, tuple(before), cast(Any, None)

    def fill(self, use: Use, *args: Any, **kwargs: Any) -> None:
        """As :meth:`TokenSlot.fill`; the hook is installed with the first use."""
        super().fill(use, *args, **kwargs)
        if self._handle is None:
            hook = self._layer.register_forward_pre_hook(self._enter, with_kwargs=True)
            self._handle = hook

    def clear(self, name: str | None = None) -> None:
        """As :meth:`TokenSlot.clear`; the hook is removed with the last use."""
        super().clear(name)
        if not self.filled and self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _enter(self, _: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        # A layer that is recomputed in the backward pass comes by again: nothing is remembered.
        if self.own() is None:
            return None
        x = args[0] if args else kwargs["hidden_states"]
        x = self.extend(drop_last(self._before, x))
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})


def drop_last(slots: Sequence[TokenSlot], x: torch.Tensor) -> torch.Tensor:
    """Tokens (B, L, D) without those of the last of some slots that brings any."""
    found = [slot for slot in slots if slot.own() is not None]
    return found[-1].drop(x) if found else x


@MODELS.register_module()
class ClipVisual(VisualSide, ClipTower):
    """CLIP's ViT, transformers' ``CLIPVisionModel``.

    Args:
        arch (str | dict): ``'b'`` (12 x 768), ``'l'`` (24 x 1024) or a dict with ``embed_dims``,
            ``num_layers``, ``num_heads`` and ``feedforward_channels``.
        img_size (int): Side of the square input in pixels. Defaults to 224.
        patch_size (int): Side of a patch in pixels. Defaults to 32.
        activation (str): transformers' name of the activation. Defaults to ``'quick_gelu'``, that
            of the original.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If ``arch`` is unknown or incomplete, or the image is no multiple of a patch.
    """

    def __init__(
        self,
        arch: str | dict = "b",
        img_size: int = 224,
        patch_size: int = 32,
        activation: str = "quick_gelu",
        grad_checkpointing: bool = False,
    ) -> None:
        sizes = sizes_of(arch, img_size, patch_size)
        super().__init__(
            "CLIPVision",
            grad_checkpointing,
            hidden_size=sizes["embed_dims"],
            num_hidden_layers=sizes["num_layers"],
            num_attention_heads=sizes["num_heads"],
            intermediate_size=sizes["feedforward_channels"],
            image_size=img_size,
            patch_size=patch_size,
            hidden_act=activation,
        )
        self.img_size, self.patch_size = img_size, patch_size
        self.embed_dims: int = sizes["embed_dims"]
        self._added: list[TokenSlot] = []
        for (_, at), layer in zip(self.layer_sites(), self.layers, strict=True):
            slot = LayerTokenSlot(self.embed_dims, layer, self._added)
            at.slots["tokens"] = slot
            self._added.append(slot)

    def tokens(
        self,
        x: torch.Tensor,
        want: Want = "all",
        frames: int = 1,
    ) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images (B, 3, H, W), normalised.
            want (str): ``'all'`` tokens, or the ``'first'``, the class token. Defaults to
                ``'all'``.
            frames (int): How many images, one after another, are a video; plays no part, as a
                hosted tower tells no adapter how its tokens lie. Defaults to 1.

        Returns:
            Tensor: Tokens (B, 1 + H/p * W/p, D) behind ``post_layernorm``, the class token first;
            (B, 1, D) of the class tokens.

        Raises:
            ValueError: If the images are of another size.
        """
        none = x.shape[0] == 0
        if none:
            # transformers can't reshape nothing; a row that is cut off keeps the graph whole.
            x = x.new_zeros(1, 3, self.img_size, self.img_size)
        self.check_size(x)
        tokens = self.model(pixel_values=x).last_hidden_state
        tokens = drop_last(self._added, tokens[:0] if none else tokens)
        # The original normalises the class token alone; a norm is of each token by itself.
        return self.model.post_layernorm(tokens[:, :1] if want == "first" else tokens)


@MODELS.register_module()
class ClipText(TextSide, ClipTower):
    """CLIP's causal text transformer, transformers' ``CLIPTextModel``.

    The defaults are those beside ViT-B/32 and ViT-B/16.

    Args:
        vocab_size (int): Number of words; the last one ends a text. Defaults to 49408.
        hidden_size (int): Width D. Defaults to 512.
        num_layers (int): Layers. Defaults to 12.
        num_heads (int): Attention heads. Defaults to 8.
        intermediate_size (int): Inner width of the feed-forward networks. Defaults to 2048.
        max_positions (int): Longest text in tokens. Defaults to 77.
        activation (str): transformers' name of the activation. Defaults to ``'quick_gelu'``, that
            of the original.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the width is no multiple of the attention heads.
    """

    def __init__(
        self,
        vocab_size: int = 49408,
        hidden_size: int = 512,
        num_layers: int = 12,
        num_heads: int = 8,
        intermediate_size: int = 2048,
        max_positions: int = 77,
        activation: str = "quick_gelu",
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__(
            "CLIPText",
            grad_checkpointing,
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=intermediate_size,
            max_position_embeddings=max_positions,
            hidden_act=activation,
            bos_token_id=vocab_size - 2,
            eos_token_id=vocab_size - 1,
        )
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.max_positions = max_positions
        self._added = TokenSlot(hidden_size)
        self.layer_sites()[0][1].slots["tokens"] = self._added

    def place(self, words: Words) -> torch.Tensor:
        """The first end-of-text token; see the base class."""
        return (words.ids == self.vocab_size - 1).int().argmax(-1)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        want: Want = "all",
    ) -> torch.Tensor:
        """Encode texts.

        What stands for a text is the state at its end, which comes first here, where other towers
        have the state of their ``[CLS]``.

        Args:
            input_ids (Tensor): Word ids (B, L), the padding behind the text.
            attention_mask (Tensor): (B, L), 0 where a token is padding. Attention is causal, so
                no token of a text sees the padding anyway.
            want (str): ``'all'`` states, or that at the end only, ``'first'``. Defaults to
                ``'all'``.

        Returns:
            Tensor: (B, 1 + L, D), the state at the first end-of-text token and then all tokens,
            behind the final norm; or (B, 1, D), that state alone.

        Raises:
            ValueError: If the mask has another shape than the ids, or a text exceeds the position
                table.
        """
        self.check_texts(input_ids, attention_mask)
        none = input_ids.shape[0] == 0
        if none:
            # As for images.
            input_ids = input_ids.new_zeros(1, max(input_ids.shape[1], 1))
        out = self._run(input_ids)
        end = out.pooler_output[:, None]
        tokens = self._added.drop(out.last_hidden_state)
        states = end if want == "first" else torch.cat((end, tokens), 1)
        return states[:0] if none else states

    def _run(self, ids: torch.Tensor) -> Any:
        """Run transformers' tower on words (B, L), with the tokens of the slot among them."""
        added = self._added
        own = added.own()
        if own is None:
            return self.model(input_ids=ids)
        self.check_length(ids.shape[1] + len(own))
        # Any word but the one that ends a text keeps their places; positions follow.
        ids = torch.cat((ids[:, :1], ids.new_zeros(ids.shape[0], len(own)), ids[:, 1:]), 1)
        table = self.model.embeddings.token_embedding
        hook = table.register_forward_hook(lambda _, __, x: added.extend(added.drop(x)))
        try:
            return self.model(input_ids=ids)
        finally:
            hook.remove()
