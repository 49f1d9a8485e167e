"""MDETR's towers: RoBERTa, and DETR's transformer over [image; text], those of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.tensors import at_least_float32

from ..execution import Words
from ..sites import LayerSites
from .hosted import HostedTower
from .libraries import of_transformers, recompute
from .side_by_side import check_heads


def _transformers(name: str) -> Any:
    """A class of transformers; the parts of DETR are not among those that it shows."""
    library = of_transformers("MDETR's towers", least="5")
    parts = of_transformers("MDETR's towers", "transformers.models.detr.modeling_detr", "5")
    return getattr(parts, name, None) or getattr(library, name)


class Stream(NamedTuple):
    """What the encoder reads: cells of the image, row by row, and then the text's tokens.

    Attributes:
        states (Tensor): (B, S, d).
        mask (Tensor): (B, S) bool, False where a cell or a token is padding.
        code (Tensor): (B, S, d), the sine code of a cell's place; 0 at the text.
        cells (int): How many of the S are of the image.
    """

    states: torch.Tensor
    mask: torch.Tensor
    code: torch.Tensor
    cells: int


@MODELS.register_module()
class RobertaText(nn.Module):
    """transformers' ``RobertaModel`` without its pooling layer.

    Args:
        vocab_size (int): Number of words. Defaults to 50265.
        hidden_size (int): Width. Defaults to 768.
        num_layers (int): Layers. Defaults to 12.
        num_heads (int): Attention heads. Defaults to 12.
        intermediate_size (int): Inner width of the feed-forward networks. Defaults to 3072.
        max_positions (int): Longest text in tokens. Defaults to 512.
        dropout (float): Of states and attention. Defaults to 0.1.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the width is no multiple of the attention heads.
    """

    roles = ("text",)

    def __init__(
        self,
        vocab_size: int = 50265,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        max_positions: int = 512,
        dropout: float = 0.1,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_heads(hidden_size, num_heads)
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.num_layers, self.max_positions = num_layers, max_positions
        config = _transformers("RobertaConfig")(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=intermediate_size,
            # Positions are counted from behind the id of padding, 1.
            max_position_embeddings=max_positions + 2,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
        self.model = _transformers("RobertaModel")(config, add_pooling_layer=False)
        self.grad_checkpointing = grad_checkpointing
        self._tower = HostedTower(self.model, "RobertaModel")

    @property
    def grad_checkpointing(self) -> bool:
        """Whether each layer is recomputed in the backward pass."""
        return self._checkpoints

    @grad_checkpointing.setter
    def grad_checkpointing(self, value: bool) -> None:
        self._checkpoints = value
        recompute(self.model, value)

    def sites(self, role: str | None = None) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return self._tower.sites()

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers, in order."""
        return self._tower.layers

    def local(self, role: str) -> bool:
        """Whether whatever fills the sites needs of a token that token alone."""
        return all(layer.local() for _, layer in self.sites(role))

    def check_length(self, length: int, key: str) -> None:
        """Raise ValueError if a text of so many tokens exceeds the table of positions."""
        if length > self.max_positions:
            raise ValueError(
                f"{key}={length} exceeds text.max_positions={self.max_positions}: lower it."
            )

    def states(self, words: Words) -> torch.Tensor:
        """States (T, L, D) of texts (T, L) with marks at both ends and padding behind."""
        found: torch.Tensor = self.model(
            input_ids=words.ids, attention_mask=words.mask
        ).last_hidden_state
        return found

    def init_weights(self) -> None:
        """Keep the weights as they are: construction has initialised them."""


class Resizer(nn.Module):
    """MDETR's way from the text's states to the transformer's width: dropout(LN(linear(x))).

    Args:
        in_dim (int): Width of the text's states.
        out_dim (int): Width d.
        dropout (float): Probability of the dropout.
    """

    def __init__(self, in_dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.fc = nn.Linear(in_dim, out_dim)
        self.layer_norm = nn.LayerNorm(out_dim, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resize (..., in_dim)."""
        return self.dropout(self.layer_norm(self.fc(x)))


@dataclass(frozen=True)
class DetrOptions:
    """What a config may say of a :class:`DetrTower`.

    Args:
        d_model (int): Width d. Defaults to 256.
        num_heads (int): Attention heads. Defaults to 8.
        feedforward (int): Inner width of the feed-forward networks. Defaults to 2048.
        encoder_layers (int): Layers of the encoder. Defaults to 6.
        decoder_layers (int): Layers of the decoder. Defaults to 6.
        num_queries (int): Boxes that are predicted of an image. Defaults to 100.
        dropout (float): Of all layers and of the resizer. Defaults to 0.1.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
    """

    d_model: int = 256
    num_heads: int = 8
    feedforward: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    num_queries: int = 100
    dropout: float = 0.1
    grad_checkpointing: bool = False

    def __post_init__(self) -> None:
        check_heads(self.d_model, self.num_heads)
        if self.d_model % 4:
            raise ValueError(
                f"detr.d_model={self.d_model}: the sine code of places needs a multiple of 4."
            )


@MODELS.register_module()
class DetrTower(nn.Module):
    """DETR's encoder over [cells of an image; tokens of a text] and its decoder of queries.

    transformers' ``DetrEncoder`` and ``DetrDecoder``, with the parts that MDETR has in front of
    them. It plays ``encoder`` and ``decoder``.

    Args:
        in_channels (int): Channels of the image's map; the task says it.
        text_width (int): Width of the text's states; the task says it.
        **options: Those of :class:`DetrOptions`.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the width is no multiple of the attention heads, or of 4.
    """

    roles = ("encoder", "decoder")

    Options = DetrOptions

    def __init__(self, in_channels: int, text_width: int, **options: Any) -> None:
        super().__init__()
        chosen = DetrOptions(**options)
        d_model = chosen.d_model
        config = _transformers("DetrConfig")(
            d_model=d_model,
            encoder_layers=chosen.encoder_layers,
            decoder_layers=chosen.decoder_layers,
            encoder_attention_heads=chosen.num_heads,
            decoder_attention_heads=chosen.num_heads,
            encoder_ffn_dim=chosen.feedforward,
            decoder_ffn_dim=chosen.feedforward,
            dropout=chosen.dropout,
            attention_dropout=chosen.dropout,
            activation_dropout=chosen.dropout,
            # With it the decoder hands normalised states to its next layer, and is another one.
            auxiliary_loss=False,
        )
        self.d_model, self.num_queries, self.in_channels = d_model, chosen.num_queries, in_channels
        self.input_proj = nn.Conv2d(in_channels, d_model, kernel_size=1)
        self.query_embed = nn.Embedding(chosen.num_queries, d_model)
        self.resizer = Resizer(text_width, d_model, chosen.dropout)
        self.encoder = _transformers("DetrEncoder")(config)
        self.decoder = _transformers("DetrDecoder")(config)
        # transformers drops out of the encoder's input as well, MDETR does not.
        self.encoder.dropout = 0.0
        self.place_code = _transformers("DetrSinePositionEmbedding")(d_model // 2, normalize=True)
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.grad_checkpointing = chosen.grad_checkpointing
        self._towers = {
            "encoder": HostedTower(self.encoder, "DetrEncoder"),
            "decoder": HostedTower(self.decoder, "DetrDecoder"),
        }

    @property
    def grad_checkpointing(self) -> bool:
        """Whether each layer is recomputed in the backward pass."""
        return self._checkpoints

    @grad_checkpointing.setter
    def grad_checkpointing(self, value: bool) -> None:
        self._checkpoints = value
        recompute(self, value)

    def sites(self, role: str) -> list[tuple[int, LayerSites]]:
        """Sites of the layers of a role with their numbers from 0."""
        return self._towers[role].sites()

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers that run in a role, in order."""
        return self._towers[role].layers

    def local(self, role: str) -> bool:
        """Whether whatever fills the sites needs of a token that token alone."""
        return all(layer.local() for _, layer in self.sites(role))

    def body(self, role: str) -> nn.Module:
        """The module whose layers they are."""
        return self._towers[role].module

    def stream(
        self,
        maps: torch.Tensor,
        pixel_mask: torch.Tensor,
        text: torch.Tensor,
        text_mask: torch.Tensor,
    ) -> Stream:
        """Lay image and text side by side for the encoder.

        Args:
            maps (Tensor): (B, C, h, w) of the images.
            pixel_mask (Tensor): (B, H, W) bool, False where a pixel is padding.
            text (Tensor): States (B, L, D) of the texts.
            text_mask (Tensor): (B, L), 0 where a token is padding.

        Returns:
            Stream: Of h * w + L states.
        """
        grid = F.interpolate(pixel_mask[:, None].float(), size=maps.shape[-2:])[:, 0].bool()
        cells = self.input_proj(maps)
        # Angles of half precision would be wrong.
        dtype = at_least_float32(cells[:0]).dtype
        code = self.place_code(cells.shape, cells.device, dtype, mask=grid)
        code = code.flatten(2).transpose(1, 2)
        cells, words = cells.flatten(2).transpose(1, 2), self.resizer(text)
        return Stream(
            torch.cat((cells, words), 1),
            torch.cat((grid.flatten(1), text_mask.bool()), 1),
            torch.cat((code, torch.zeros_like(words)), 1),
            cells.shape[1],
        )

    def encode(self, stream: Stream) -> torch.Tensor:
        """States (B, S, d) behind the encoder's last layer."""
        found: torch.Tensor = self.encoder(
            inputs_embeds=stream.states,
            attention_mask=stream.mask,
            spatial_position_embeddings=stream.code,
        ).last_hidden_state
        return found

    def decode(self, stream: Stream, encoded: torch.Tensor, every: bool = False) -> torch.Tensor:
        """States of the queries, behind the final norm.

        Args:
            stream (Stream): What the encoder read.
            encoded (Tensor): What it gave, (B, S, d).
            every (bool): Of every layer, each behind the final norm, rather than of the last.
                Defaults to False.

        Returns:
            Tensor: (B, Q, d), or (layers, B, Q, d), the last layer's last.
        """
        queries = self.query_embed.weight[None].expand(len(encoded), -1, -1)
        out = self.decoder(
            inputs_embeds=torch.zeros_like(queries),
            encoder_hidden_states=encoded,
            encoder_attention_mask=stream.mask,
            spatial_position_embeddings=stream.code,
            object_queries_position_embeddings=queries,
            output_hidden_states=every,
        )
        last: torch.Tensor = out.last_hidden_state
        if not every:
            return last
        count = len(self.role_layers("decoder"))
        raw = out.hidden_states[1:count]
        return torch.stack([*(self.decoder.layernorm(state) for state in raw), last])

    def init_weights(self) -> None:
        """Keep the weights as they are: construction has initialised them."""
