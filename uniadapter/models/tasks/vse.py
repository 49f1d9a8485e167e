"""Image-text retrieval by pooled tokens: VSE-infinity, and UniPT beside its towers."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isclass
from typing import Any

import torch

from uniadapter.registry import MODELS
from uniadapter.structures import KeptFrames

from ..execution import Words
from ..heads import PooledHingeHead
from ..sites import Places
from .retrieval import RetrievalModel

_CONTRAST = {"type": "PooledHingeHead"}


@MODELS.register_module()
class VseModel(RetrievalModel):
    """Two towers side by side whose tokens are pooled into one space (VSE-infinity).

    Any visual tower will do, whether its tokens are the cells of a convolution network's last map
    (:class:`~uniadapter.models.backbones.conv.ConvTower` says how another one is added) or a
    transformer's, and any text tower. Between tower and pooling tokens are projected by the head;
    or, where an adapter takes the place of the tower's run (UniPT), come from it in the width of
    the features, and there is no projection.

    Args:
        visual (dict): Config of the visual tower.
        text (dict): Config of the text tower, which reads no media.
        adapter (dict, optional): Config of the adapter.
        contrast (dict): Config of the head. Defaults to :class:`PooledHingeHead`.
        token_drop (float): Share of an image's tokens that training leaves out, drawn anew for each
            image; one at least is kept. Defaults to 0.2.
        **kwargs: As :class:`RetrievalModel`; there is no matching head and no frame weighting.

    Raises:
        ValueError: If ``token_drop`` is not in [0, 1), the head pools nothing, there is a matching
            head or a frame weighting, or what the base class refuses.
    """

    reads_first = False

    def __init__(
        self,
        visual: dict,
        text: dict,
        adapter: dict | None = None,
        contrast: Mapping[str, Any] = _CONTRAST,
        token_drop: float = 0.2,
        **kwargs: Any,
    ) -> None:
        if not 0 <= token_drop < 1:
            raise ValueError(f"model.token_drop={token_drop} must be in [0, 1).")
        for name in ("pfa", "matching"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(
                    f"model.{name} is nothing that a VseModel has: images have one frame, and no "
                    "text reads them. Take it out."
                )
        if kwargs.get("pooling") is not None:
            raise ValueError(
                f"model.pooling={kwargs['pooling']!r} is of frames, and a VseModel ranks images: "
                "set model.contrast.pooling for their tokens."
            )
        self.token_drop = token_drop
        _check_head(contrast)
        super().__init__(visual, text, adapter, None, contrast, None, **kwargs)

    @property
    def contrast(self) -> PooledHingeHead:
        """The contrastive head."""
        head: PooledHingeHead = self.head("contrast")
        return head

    def places(self) -> Places:
        """As the base class; what is compared is pooled from all tokens, not projected from one."""
        places = super().places()
        places.pooled, places.embeddings = places.embeddings, {}
        return places

    def new_heads(self) -> set[str]:
        """All: the towers are of two projects, which never met."""
        return set(self.heads())

    def head_arguments(self) -> dict[str, dict[str, Any]]:
        """As the base class; what comes in the features' width has no projection."""
        arguments = super().head_arguments()
        given = () if self.adapter is None else self.adapter.pooled
        for role, name in (("visual", "visual_dim"), ("text", "text_dim")):
            if role in given:
                arguments["contrast"][name] = self.embed_dim
        self._given = given
        project = [role for role in ("visual", "text") if role not in given]
        arguments["contrast"]["project"] = project
        return arguments

    def check_adapter(self) -> None:
        """Refuse a method whose states are pooled otherwise: the heads are built for one kind."""
        given = () if self.adapter is None else self.adapter.pooled
        if set(given) != set(self._given):
            raise ValueError(
                f"This adapter gives the features of {list(given)} itself, and the heads were "
                f"built for one that gives those of {list(self._given)}: build a model with it."
            )

    def encode_visual(
        self,
        pixels: torch.Tensor,
        class_only: bool = False,
        frame_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode images.

        Args:
            pixels (Tensor): (B, 1, 3, H, W), normalised.
            class_only (bool): Plays no part: all tokens are pooled.
            frame_mask (Tensor, optional): Must be None: an image has no padded frames.

        Returns:
            tuple: Tokens (B, 1, M, D), D being E where an adapter gives them; features (B, E) and
            (B, 1, E), of length 1, float32 or more.

        Raises:
            ValueError: If there are several frames, or the towers alone have no common space.
        """
        if (pixels.dim() == 5 and pixels.shape[1] != 1) or frame_mask is not None:
            raise ValueError(
                f"A {type(self).__name__} ranks images, pixels (B, 1, 3, H, W); got "
                f"{tuple(pixels.shape)}: set num_frames=1 in the pipeline, and no pad_frames."
            )
        tokens = self.encode_frames(pixels)
        self._check_space("visual")
        feature = self.contrast.visual(tokens[:, 0], lengths=self.kept_tokens(tokens[:, 0]))
        return tokens, feature, feature[:, None]

    def encode_text(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        class_only: bool = False,
        kept: KeptFrames | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode texts.

        Args:
            input_ids (Tensor): (T, L) word ids.
            attention_mask (Tensor): (T, L), 0 where a token is padding.
            class_only (bool): Return the first tokens alone (L = 1); all are pooled. Defaults to
                False.
            kept (KeptFrames, optional): Must be None: states are kept beside embeddings alone.

        Returns:
            tuple: Tokens (T, L, D), D being E where an adapter gives them; features (T, E) of
            length 1, at least float32.

        Raises:
            ValueError: If the towers alone have no common space.
        """
        if kept is not None:
            raise ValueError(f"A {type(self).__name__} takes no kept taps: run its towers.")
        words = Words(input_ids, attention_mask)
        text = self.role("text")
        states = text.states(words)
        self._check_space("text")
        # What some towers put in front stands among the tokens as well.
        tokens = states if text.place(words) is None else states[:, 1:]
        feature = self.contrast.text(tokens, lengths=attention_mask)
        return states[:, :1] if class_only else states, feature

    def kept_tokens(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """Which tokens of (B, M, D) training keeps, (B, M) bool; None outside of training."""
        if not self.training or not self.token_drop:
            return None
        drawn = torch.rand(tokens.shape[:2], device=tokens.device)
        # Where all would go, the last to go stays.
        return (drawn > self.token_drop) | (drawn == drawn.amax(1, keepdim=True))

    def _check_space(self, role: str) -> None:
        """Refuse features of a tower that has no projection while its adapter is off."""
        if self.adapter is None or role not in self.adapter.pooled or self.adapter.takes(role):
            return
        raise ValueError(
            f"Without {type(self.adapter).__name__}, which is disabled, nothing brings the {role} "
            "tower's tokens into the space of the features: encode_frames() and "
            "role('text').states() give them as they are."
        )


def _check_head(config: Mapping[str, Any]) -> None:
    """Refuse a head that compares one state of each image and text."""
    kind = config.get("type") if isinstance(config, Mapping) else None
    found = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isclass(found) and issubclass(found, PooledHingeHead)):
        raise ValueError(
            f"model.contrast={config!r} of a VseModel must pool tokens: set its type to "
            "'PooledHingeHead'."
        )
