"""What towers that stand side by side have in common: nothing in them reads the other one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..execution import Want, Words
from ..sites import LayerSites
from ..taps import Recorder, Taps
from .bert.embeddings import check_length


class SideTower(nn.Module):
    """A tower without cross-attention, of one role.

    A subclass has ``layers``, the modules that run one after another, and says where their sites
    are by :meth:`layer_sites`.
    """

    layers: Sequence[nn.Module]

    def init_weights(self) -> None:
        """Keep the weights as they are: construction has initialised them."""

    def layer_sites(self) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        raise NotImplementedError

    def sites(self, role: str | None = None) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0; a tower has one role.

        Raises:
            ValueError: For the role ``'fusion'``: there is no cross-attention.
        """
        if role == "fusion":
            raise ValueError(self.no_fusion())
        return self.layer_sites()

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers that run in a role, in order: all."""
        return list(self.layers)

    def no_fusion(self) -> str:
        """What to say to a task that wants texts to read media."""
        return (
            f"{type(self).__name__} has no cross-attention, so no run that reads media: set "
            "model.matching=None and rank by similarity alone (k_test=0)."
        )

    def taps(self, *args: Any, **kwargs: Any) -> Taps:
        """The states behind every layer in a run of the tower, without a graph."""
        return Recorder(self.layers)(lambda: self(*args, **kwargs))


class VisualSide(SideTower):
    """The tower of images; a subclass computes :meth:`tokens`."""

    roles: tuple[str, ...] = ("visual",)
    img_size: int

    def tokens(self, x: torch.Tensor, want: Want = "all", frames: int = 1) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images (B, 3, H, W), normalised.
            want (str): ``'all'`` tokens, or the ``'first'``, the class token. Defaults to
                ``'all'``.
            frames (int): How many images, one after another, are a video. Defaults to 1.

        Returns:
            Tensor: Tokens (B, 1 + H/p * W/p, D) after the final norm, the class token first;
            (B, 1, D) of the class tokens.

        Raises:
            ValueError: If the images are of another size.
        """
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Class tokens (B, D) of images (B, 3, H, W), as heads of other projects expect them."""
        return (self.tokens(x)[:, 0],)

    def taps(self, *args: Any, **kwargs: Any) -> Taps:
        """The states behind every layer and all tokens, without a graph."""
        return Recorder(self.layers)(lambda: self.tokens(*args, **kwargs))

    def check_size(self, x: torch.Tensor) -> None:
        """Refuse images of another size than the tower's.

        Args:
            x (Tensor): Images (B, 3, H, W).

        Raises:
            ValueError: If a side is not ``img_size``.
        """
        size = self.img_size
        if x.shape[-2:] != (size, size):
            raise ValueError(
                f"Images of {x.shape[-2]} x {x.shape[-1]} pixels, but model.visual.img_size="
                f"{size}: make the pipeline's size and that option agree."
            )


class TextSide(SideTower):
    """The tower of texts; a subclass computes ``forward(input_ids, attention_mask, ...)``."""

    roles: tuple[str, ...] = ("text",)
    max_positions: int

    @property
    def encoder_width(self) -> int:
        """Width of the media that cross-attention reads.

        Raises:
            ValueError: Always: there is no cross-attention.
        """
        raise ValueError(self.no_fusion())

    def check_length(self, length: int, key: str | None = None) -> None:
        """Refuse texts of more tokens than there are positions; see :func:`check_length`."""
        check_length(length, self.max_positions, key)

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """The text role; see :class:`~uniadapter.models.backbones.base.Text`."""
        return self(*words, want)

    def place(self, words: Words) -> torch.Tensor | None:
        """Where the token that stands for a text is, (T,) long; None where it is the first.

        Elsewhere :meth:`states` puts it in front of all tokens.
        """
        return None

    def check_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Refuse texts that do not fit their mask, or not the position table.

        Args:
            input_ids (Tensor): Word ids (B, L).
            attention_mask (Tensor): (B, L), 0 where a token is padding.

        Raises:
            ValueError: If the mask has another shape than the ids, or the texts are too long.
        """
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask {tuple(attention_mask.shape)} must have the shape of input_ids "
                f"{tuple(input_ids.shape)}."
            )
        self.check_length(input_ids.shape[1])


def check_heads(width: int, num_heads: int) -> None:
    """Refuse a number of heads that does not divide the width.

    Raises:
        ValueError: If it does not.
    """
    if width % num_heads:
        raise ValueError(f"A width of {width} is no multiple of {num_heads} attention heads.")
