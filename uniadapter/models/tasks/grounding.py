"""Grounding: the box in a picture that a text means, on MDETR's towers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.boxes import to_corners
from uniadapter.utils.finite import refuse_nan
from uniadapter.utils.modes import evaluating

from ..backbones.detr import DetrTower, RobertaText, Stream
from ..backbones.frozen_resnet import FrozenResNet
from ..backbones.hosted import linear_sites
from ..execution import Words
from ..heads.boxes import Predictions, Targets
from ..heads.grounding import GroundingHead
from ..sites import Places
from ..taps import Call, Read
from .base import VisionLanguageModel


class Grounded(NamedTuple):
    """What the towers, or side networks beside them, say of pictures and texts.

    Attributes:
        queries (Tensor): States (outputs, B, Q, d), the prediction last.
        tokens (Tensor): The encoder's own states (B, L, d) of the texts.
    """

    queries: torch.Tensor
    tokens: torch.Tensor


@MODELS.register_module()
class GroundingModel(VisionLanguageModel):
    """Referring expressions (RefCOCO, RefCOCO+, RefCOCOg) as MDETR has them (arXiv 2104.12763).

    A convolution network reads the picture and RoBERTa the text; DETR's encoder runs over both side
    by side, its decoder over queries that read it, and the heads say which tokens a query stands
    for and where its box is. With a side method (:class:`~uniadapter.CoupledUniPT`) what it answers
    goes to the heads, and what lies beneath runs without a graph and, but for
    ``adapter.tower_dropout``, without dropout. Without one the outputs of all decoder layers,
    behind the final norm, have auxiliary losses.

    Args:
        visual (dict): Config of the convolution network.
        text (dict): Config of the text tower.
        detr (dict): Config of the transformer, without ``in_channels`` and ``text_width``.
        head (dict, optional): Options of :class:`GroundingHead`, without ``width``.
        adapter (dict, optional): Config of the adapter. None leaves the sites empty.
        data_preprocessor (dict, optional): Config of the data preprocessor.
        **options: Those of :class:`ModelOptions` but ``fast`` and ``prefix_cache``.

    Raises:
        ValueError: If an option is outside its set, or nothing reads it.
    """

    visual: FrozenResNet
    text: RobertaText  # type: ignore[assignment]

    def __init__(
        self,
        visual: dict,
        text: dict,
        detr: dict,
        head: dict | None = None,
        adapter: dict | None = None,
        data_preprocessor: dict | None = None,
        **options: Any,
    ) -> None:
        for key in ("fast", "prefix_cache"):
            if options.get(key) is not None:
                raise ValueError(
                    f"model.{key} is of BLIP's towers, and nothing of GroundingModel reads it: "
                    "leave it out."
                )
        # The adapter fills the transformer's sites too, so that it comes behind it.
        super().__init__(visual=visual, text=text, data_preprocessor=data_preprocessor, **options)
        given = {"in_channels": self.visual.embed_dims, "text_width": self.text.hidden_size}
        for key, value in given.items():
            if detr.get(key, value) != value:
                raise ValueError(f"model.detr.{key}={detr[key]} must be {value}: leave it out.")
        self.detr: DetrTower = MODELS.build({**detr, **given})
        self.detr.grad_checkpointing |= options.get("grad_checkpointing", False)
        if adapter is not None:
            self.adapter = MODELS.build(adapter, default_args={"places": self.places()})
        built: GroundingHead = MODELS.build(
            {"type": "GroundingHead", **(head or {}), "width": self.detr.d_model}
        )
        self.adopt_head("grounding", built)
        self.finish()

    def roles(self) -> tuple[str, ...]:
        """The runs of towers: pictures, texts, both together, and the queries."""
        return ("visual", "text", *(DetrTower.roles if "detr" in self._modules else ()))

    def _player(self, role: str) -> Any:
        return self.detr if role in DetrTower.roles else getattr(self, role)

    def towers(self) -> dict[str, nn.Module]:
        """The three towers."""
        return {"visual": self.visual, "text": self.text, "detr": self.detr}

    def components(self) -> dict[str, list[nn.Parameter]]:
        """As the base class; what is never trained of the convolution network is its ``stem``."""
        parts = super().components()
        stem = self.visual.fixed()
        if stem:
            fixed = {id(parameter) for parameter in stem}
            parts["backbone"] = [p for p in parts["backbone"] if id(p) not in fixed]
            parts["stem"] = stem
        return parts

    def trainable_components(self) -> list[str]:
        """As the base class, without the ``stem``."""
        return [name for name in super().trainable_components() if name != "stem"]

    def places(self) -> Places:
        """The sites of all roles, to be filled by an adapter."""
        places = Places(towers=self.towers())
        bodies = {"visual": self.visual, "text": self.text.model}
        for role in self.roles():
            found = self._player(role).sites(role)
            places.add(role, found)
            body = bodies.get(role) or self.detr.body(role)
            places.add_linears(role, linear_sites(body, role, [index for index, _ in found]))
        return places

    def finish(self) -> None:
        """Decide what is trained; see the base class.

        Raises:
            ValueError: If the head's map is too small for the texts that are kept.
        """
        length = getattr(self.data_preprocessor, "max_text_len", None)
        size = self.head("grounding").map_size
        if length is not None and length > size:
            raise ValueError(
                f"model.data_preprocessor.max_text_len={length} exceeds the {size} positions of "
                "model.head.map_size."
            )
        super().finish()

    def _takes(self) -> bool:
        """Whether a side method answers in the transformer's place."""
        return self.adapter is not None and all(self.adapter.takes(r) for r in DetrTower.roles)

    @contextmanager
    def _beneath(self) -> Iterator[None]:
        """How what lies beneath a side network runs: without a graph and without dropout."""
        if self.adapter is None or not self._takes():
            yield
            return
        quiet = not self.adapter.tower_dropout
        with (
            torch.no_grad(),
            evaluating(self.text) if quiet else nullcontext(),
            evaluating(self.detr) if quiet else nullcontext(),
        ):
            yield

    def ground(
        self,
        pixels: torch.Tensor,
        pixel_mask: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> Grounded:
        """Run the towers.

        Args:
            pixels (Tensor): (B, 3, H, W), normalised; what stands at padding is taken for 0.
            pixel_mask (Tensor): (B, H, W) bool, False where a pixel is padding.
            input_ids (Tensor): (B, L), marks at both ends, padding behind.
            attention_mask (Tensor): (B, L), 0 where a token is padding.

        Returns:
            Grounded: What the heads read.

        Raises:
            ValueError: If shapes do not fit each other.
        """
        _check(pixels, pixel_mask, input_ids, attention_mask)
        with self._beneath():
            maps = self.visual(pixels.masked_fill(~pixel_mask[:, None], 0))
            text = self.text.states(Words(input_ids, attention_mask))
            stream = self.detr.stream(maps, pixel_mask, text, attention_mask)
        if self.adapter is not None and self._takes():
            return self._beside(stream)
        encoded = self.detr.encode(stream)
        queries = self.detr.decode(stream, encoded, every=True)
        return Grounded(queries, encoded[:, stream.cells :])

    def _beside(self, stream: Stream) -> Grounded:
        """What a side method makes of the transformer's run."""
        detr, adapter = self.detr, self.adapter
        if adapter is None:
            raise ValueError("There is no adapter.")
        encoder = Call(
            detr.encoder, detr.role_layers("encoder"), lambda: detr.encode(stream), stream.mask
        )
        encoder.dropout = adapter.tower_dropout
        memory = adapter.run("encoder", detr, encoder)
        encoded = encoder.taps().out
        decoder = Call(
            detr.decoder,
            detr.role_layers("decoder"),
            lambda: detr.decode(stream, encoded),
            reads=lambda: Read(memory, stream.mask),
        )
        decoder.dropout = adapter.tower_dropout
        queries = adapter.run("decoder", detr, decoder)
        queries = queries[None] if queries.dim() == 3 else queries
        return Grounded(queries, encoded[:, stream.cells :])

    def forward(
        self,
        pixels: torch.Tensor,
        pixel_mask: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        boxes: torch.Tensor | None = None,
        positive: torch.Tensor | None = None,
        data_samples: list | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the model.

        Args:
            pixels (Tensor): See :meth:`ground`.
            pixel_mask (Tensor): The same.
            input_ids (Tensor): The same.
            attention_mask (Tensor): The same.
            boxes (Tensor, optional): With ``mode='loss'``, (B, 4), centre and size as shares of
                the picture without its padding.
            positive (Tensor, optional): With ``mode='loss'``, (B, C) bool, the tokens that name
                the thing.
            data_samples (list, optional): B samples, of which ``mode='predict'`` reads
                ``ori_shape`` (height, width) and sets ``pred_boxes`` and ``pred_scores``.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            dict | list | Predictions: Losses; the samples; or what the heads say.

        Raises:
            ValueError: If the loss is asked for without targets.
            NotFiniteError: If a score that boxes are ordered by is NaN.
        """
        samples, seen = self.samples_of(data_samples, mode)
        if mode == "predict" and samples and not seen:
            return samples
        found = self.ground(pixels, pixel_mask, input_ids, attention_mask)
        head: GroundingHead = self.head("grounding")
        if mode == "loss":
            if boxes is None or positive is None:
                raise ValueError("The loss of grounding needs boxes and positive tokens.")
            self.loss_items = len(boxes)
            tokens = head.tokens(found.tokens)
            return head.loss(found.queries, tokens, Targets(boxes, positive))
        said: Predictions = head.predict(found.queries[-1])
        if mode == "tensor":
            return said
        for sample, scores, corners in zip(seen, *self._ranked(said), strict=True):
            height, width = sample.ori_shape
            scale = corners.new_tensor([width, height, width, height])
            sample.set_field((corners * scale).tolist(), "pred_boxes")
            sample.set_field(scores.tolist(), "pred_scores")
        return samples

    @staticmethod
    def _ranked(said: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B, Q), 1 - p(nothing), and corners (B, Q, 4), the best first."""
        scores = 1 - said.logits.float().softmax(-1)[..., -1]
        refuse_nan(scores, "Scores of the boxes")
        scores, order = torch.sort(scores, dim=-1, descending=True, stable=True)
        corners = to_corners(said.boxes.float())
        return scores, corners.gather(1, order[..., None].expand_as(corners))


def _check(
    pixels: torch.Tensor, pixel_mask: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
) -> None:
    """Refuse shapes that would broadcast into something else."""
    size = tuple(pixels.shape)
    if len(size) != 4 or size[1] != 3 or tuple(pixel_mask.shape) != (size[0], *size[2:]):
        raise ValueError(
            f"pixels must be (B, 3, H, W) and pixel_mask (B, H, W), got {size} and "
            f"{tuple(pixel_mask.shape)}."
        )
    if ids.dim() != 2 or len(ids) != size[0] or mask.shape != ids.shape:
        raise ValueError(
            f"input_ids and attention_mask must be (B, L) with B={size[0]}, got "
            f"{tuple(ids.shape)} and {tuple(mask.shape)}."
        )
