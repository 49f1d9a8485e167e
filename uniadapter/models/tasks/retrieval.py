"""Video-text and image-text retrieval: contrastive and matching losses on adapted towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.structures import KeptFrames

from ..adapters.base import check_choice
from ..backbones.bert import BertModel
from ..execution import Want, Words
from ..heads import ContrastHead, MatchBatch, MomentumContrastHead
from ..necks import FrameAwareAttention
from ..necks.frame_attention import build_frame_attention
from ..sites import Places
from .embeddings import EmbeddingTerms
from .head_options import HEAD_OPTIONS, head_configs, option_value
from .matching import MatchingModel
from .mixed import MixedRows

_CONTRAST = {"type": "MomentumContrastHead"}
_MATCHING = {"type": "MatchingHead"}


@MODELS.register_module()
class RetrievalModel(MixedRows, EmbeddingTerms, MatchingModel):
    """Retrieval on BLIP's towers (spec section 4): a contrastive head, ITM, PFA.

    Args:
        visual (dict): Config of the visual tower.
        text (dict): Config of the text and multimodal tower.
        adapter (dict, optional): Config of the adapter.
        pfa (dict, optional): Config of :class:`FrameAwareAttention`. None: all frames alike.
        contrast (dict): Config of the contrastive head: :class:`MomentumContrastHead` (default),
            :class:`BatchContrastHead` or :class:`HingeContrastHead`.
        matching (dict, optional): Config of the :class:`MatchingHead`. None: two towers side by
            side, without cross-attention; the test then ranks by similarity alone (``k_test=0``).
        pooling (dict, optional): Config of what makes a video's feature of its frames:
            :class:`MeanPooling` (None, default): of the mean of their class tokens;
            :class:`FeaturePooling`: the mean of their own features, as CLIP4Clip;
            :class:`TemporalPooling`: that mean behind layers over frames, trained with the heads.
        **kwargs: Arguments of :class:`VisionLanguageModel`, and, as a short form, options of the
            heads: ``embed_dim``, ``temperature``, ``train_temperature``, ``momentum``,
            ``queue_size``, ``alpha`` and ``negatives``; each goes to the head that takes it, None
            leaves the head's default.

    Raises:
        ValueError: If an option is outside its set, is given twice or no head takes it, or the
            towers don't fit each other.
    """

    text: BertModel
    keyword_options = HEAD_OPTIONS
    #: Whether the visual tower's first token stands for the whole image.
    reads_first = True

    def __init__(
        self,
        visual: dict,
        text: dict,
        adapter: dict | None = None,
        pfa: dict | None = None,
        contrast: Mapping[str, Any] = _CONTRAST,
        matching: Mapping[str, Any] | None = _MATCHING,
        pooling: dict | None = None,
        **kwargs: Any,
    ) -> None:
        flat = {name: kwargs.pop(name) for name in HEAD_OPTIONS if name in kwargs}
        heads = head_configs(contrast, matching, flat)
        # Whether it can re-rank; known before the base class asks for roles and places.
        self.matches = "matching" in heads
        self.embed_dim = option_value(heads["contrast"], "embed_dim")
        super().__init__(visual=visual, text=text, adapter=adapter, **kwargs)
        if self.reads_first and not getattr(self.visual, "class_token", True):
            raise ValueError(
                f"{type(self.visual).__name__} has no token that stands for an image: set "
                "model.type='VseModel', which pools all of them."
            )
        if self.matches and self.text.encoder_width != self.visual.embed_dims:
            raise ValueError(
                f"text.encoder_width={self.text.encoder_width} must be the visual tower's width "
                f"{self.visual.embed_dims}."
            )
        self.pfa: FrameAwareAttention | None = build_frame_attention(
            pfa, self.visual.embed_dims, self.text.hidden_size, self.matches
        )
        self.pooling = MODELS.build(pooling or {"type": "MeanPooling"})
        arguments = self.head_arguments()
        for role, config in heads.items():
            self.adopt_head(role, MODELS.build(config, default_args=arguments[role]))
        self.dec_token_id, self.enc_token_id = self._special_ids()
        self.finish()
        self._follow()

    def _follow(self) -> None:
        """Let the contrastive head know what is trained."""
        head = self.contrast
        head.follow(self, self._averaged())
        # The averages of what it follows are the model's too.
        self.adopt_head("contrast", head)

    def _stopped(self) -> bool:
        """Whether averages and queue are those of an adapter that is not active."""
        return "ema" in self._modules and self._modules["ema"] is None

    def train(self, mode: bool = True) -> RetrievalModel:
        """Set the mode; averages and queue of an adapter begin where its training does."""
        if mode and self._stopped():
            self._follow()
        super().train(mode)
        return self

    @property
    def contrast(self) -> ContrastHead:
        """The contrastive head."""
        return self.head("contrast")

    @property
    def alpha(self) -> float:
        """Share of the momentum distribution in the targets, once ``alpha_scale`` is 1."""
        return self._momentum_head("alpha").alpha

    @property
    def alpha_scale(self) -> float:
        """Factor of ``alpha``, from 0 to 1, which a hook ramps."""
        return self._momentum_head("alpha_scale").alpha_scale

    @alpha_scale.setter
    def alpha_scale(self, value: float) -> None:
        self._momentum_head("alpha_scale").alpha_scale = value

    def _momentum_head(self, wanted: str) -> MomentumContrastHead:
        if not isinstance(self.contrast, MomentumContrastHead):
            raise AttributeError(f"A {type(self.contrast).__name__} has no {wanted}.")
        return self.contrast

    def roles(self) -> tuple[str, ...]:
        """Images, texts, and, with a matching head, texts that read images."""
        written = ("decoder",) if self.decoder is not None else ()
        return ("visual", "text", *(("fusion",) if self.matches else ()), *written)

    def heads(self) -> dict[str, nn.Module]:
        """As the base class, with a pooling of frames that has parameters."""
        trained = any(True for _ in self.pooling.parameters())
        return {**super().heads(), **({"pooling": self.pooling} if trained else {})}

    def new_heads(self) -> set[str]:
        """As the base class; no backbone has layers over frames."""
        return {*super().new_heads(), "pooling"}

    def head_arguments(self) -> dict[str, dict[str, Any]]:
        """What each head is told of the model when it is built."""
        text_dim = {"text_dim": self.text.hidden_size}
        contrast = {"visual_dim": self.visual.embed_dims, **text_dim}
        return {"contrast": contrast, "matching": text_dim}

    def places(self) -> Places:
        """As the base class, with the embeddings."""
        places = super().places()
        places.embeddings = dict.fromkeys(("visual", "text"), self.embed_dim)
        places.frozen = set() if self.train_heads else {"fusion"}
        return places

    def _special_ids(self) -> tuple[int, int]:
        """Ids of ``[DEC]`` and ``[ENC]``, the last two words of the vocabulary."""
        tokenizer, size = getattr(self.data_preprocessor, "tokenizer", None), self.text.vocab_size
        if tokenizer is not None:
            # Where texts are fused the last two words count; else a tower may have unused rows.
            tokenizer.check_rows(size, exact=self.matches)
        return size - 2, size - 1

    def _averaged(self) -> list[str]:
        """Trained parameters that the contrastive features depend on."""
        unused = {id(p) for p in self.contrast.scalars().values()}
        others: list[nn.Module | None] = [self.decoder, self.head("matching")]
        unused |= {id(p) for part in others if part is not None for p in part.parameters()}
        return [n for n, p in self.named_parameters() if p.requires_grad and id(p) not in unused]

    def on_weights_loaded(self) -> None:
        """Start the momentum averages from the loaded weights."""
        if not self._stopped():
            self.contrast.restart(self)

    def encode_visual(
        self,
        pixels: torch.Tensor,
        class_only: bool = False,
        frame_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode videos (or images, as videos of one frame).

        Args:
            pixels (Tensor): (B, N, 3, H, W), normalised.
            class_only (bool): Compute the class tokens only (M = 1). Defaults to False.
            frame_mask (Tensor, optional): (B, N), 0 where a frame is padding. None: all are real.

        Returns:
            tuple: Tokens (B, N, M, D); video features (B, E), of the frames' mean class token or
            as ``pooling`` says; frame features (B, N, E). Features: length 1, float32 or more.

        Raises:
            ValueError: If there is a mask and the model has no place for padded frames.
        """
        if frame_mask is not None and (self.matches or not self.pooling.of_features):
            raise ValueError(
                "The batch has padded frames (data_preprocessor.pad_frames), which only "
                "model.pooling=dict(type='FeaturePooling') with model.matching=None leaves out."
            )
        tokens = self.encode_frames(pixels, "first" if class_only else "all")
        cls, contrast = tokens[:, :, 0], self.contrast
        term = self.embedding_term("visual", cls)
        if self.pooling.of_features:
            frames = contrast.visual(cls, term)
            return tokens, self.pooling(frames, frame_mask), frames
        # A video's term is the mean of its frames', as its embedding is.
        pooled = None if term is None else self.pooling(term)
        return tokens, contrast.visual(self.pooling(cls), pooled), contrast.visual(cls, term)

    def encode_text(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        class_only: bool = False,
        kept: KeptFrames | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode texts without looking at media.

        Args:
            input_ids (Tensor): (T, L) word ids, the first ``[CLS]``.
            attention_mask (Tensor): (T, L), 0 where a token is padding.
            class_only (bool): Compute the first token only (L = 1). Defaults to False.
            kept (KeptFrames, optional): States of these texts that were kept.

        Returns:
            tuple: Tokens (T, L, D) and features (T, E) of length 1, at least float32.
        """
        words = Words(input_ids, attention_mask)
        want: Want = "first" if class_only else "all"
        if kept is None:
            tokens = self.role("text").states(words, want)
        else:
            tokens = self.kept_states("text", kept, want, words)
        cls = tokens[:, 0]
        return tokens, self.contrast.text(cls, self.embedding_term("text", cls))

    def features(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Contrastive features alone, which need no more than class tokens.

        Args:
            pixels (Tensor): (B, N, 3, H, W).
            input_ids (Tensor): (T, L).
            attention_mask (Tensor): (T, L).
            frame_mask (Tensor, optional): (B, N), see :meth:`encode_visual`.

        Returns:
            tuple: Of media (B, E) and of texts (T, E).
        """
        visual = self.encode_visual(pixels, True, frame_mask)[1]
        return visual, self.encode_text(input_ids, attention_mask, True, _kept_of(pixels))[1]

    def forward(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media_ids: torch.Tensor | None = None,
        data_samples: list | None = None,
        mode: str = "tensor",
        frame_mask: torch.Tensor | None = None,
    ) -> Any:
        """Run the model.

        Args:
            pixels (Tensor): (B, N, 3, H, W); or, with ``mode='loss'``, :class:`KeptFrames`.
            input_ids (Tensor): (T, L); T = B with ``mode='loss'``.
            attention_mask (Tensor): (T, L).
            media_ids (Tensor, optional): (B,); texts and media of one id are positives.
            data_samples (list, optional): Samples, passed through by ``mode='predict'``.
            mode (str): ``'loss'``, ``'tensor'`` or ``'predict'``.
            frame_mask (Tensor, optional): (B, N), 0 where a frame is padding.

        Returns:
            dict | list: Losses; a dict of tokens and features; or the samples with their
            similarities to all texts.
        """
        rows = self.rows_of(data_samples, len(pixels), mode)
        if mode == "loss":
            if media_ids is None or not len(media_ids) == len(input_ids) == len(pixels):
                raise ValueError("mode='loss' needs media_ids and one text a medium.")
            return self.loss(pixels, input_ids, attention_mask, media_ids, frame_mask)
        if rows is not None:
            media = {"pixels": pixels, "frame_mask": frame_mask}
            texts = {"input_ids": input_ids, "attention_mask": attention_mask}
            return self.pairs_by_adapter(rows, media, texts, data_samples, mode)
        samples = [s for s in data_samples or [] if not getattr(s, "skipped", False)]
        if mode == "predict" and not samples and not len(pixels):
            return []
        tokens, feature, frames = self.encode_visual(pixels, frame_mask=frame_mask)
        text_tokens, text_feature = self.encode_text(input_ids, attention_mask)
        if mode == "tensor":
            return {
                "visual_tokens": tokens,
                "visual_features": feature,
                "frame_features": frames,
                "text_tokens": text_tokens,
                "text_features": text_feature,
            }
        check_choice(mode, ("predict",), "mode")
        if len(samples) != len(feature):
            raise ValueError(
                f"mode='predict' needs one data sample a medium: {len(feature)} media, "
                f"{len(samples)} samples that were not skipped."
            )
        for sample, row in zip(samples, feature @ text_feature.t(), strict=True):
            sample.set_field(row, "similarity")
        return samples

    def loss(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media_ids: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Contrastive and matching loss of a batch of B pairs.

        Args:
            pixels (Tensor): (B, N, 3, H, W).
            input_ids (Tensor): (B, L).
            attention_mask (Tensor): (B, L).
            media_ids (Tensor): (B,).
            frame_mask (Tensor, optional): (B, N), 0 where a frame is padding.

        Returns:
            dict[str, Tensor]: ``loss_itc`` and, with a matching head, ``loss_itm``, scalars.
        """
        # Without matching nothing reads a medium's other tokens.
        only = not self.matches
        texts = (input_ids, attention_mask)
        return self._contrast_and_match(pixels, *texts, media_ids, only, frame_mask)[0]

    def _contrast_and_match(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media_ids: torch.Tensor,
        class_only: bool = False,
        frame_mask: torch.Tensor | None = None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The losses, and the visual tokens for further ones, or the class tokens alone."""
        if self._stopped():
            self._follow()
        contrast, texts = self.contrast, (input_ids, attention_mask)
        with self.step_on(pixels):
            targets = contrast.prepare(self, self.features, pixels, *texts, frame_mask)
            tokens, visual, frames = self.encode_visual(pixels, class_only, frame_mask)
        # A fusion that continues from the text's states wants those of all its tokens.
        continues = self.matches and self.role("fusion").takes_states
        text_tokens, text = self.encode_text(*texts, not continues, _kept_of(pixels))
        losses = {"loss_itc": contrast.loss(visual, text, media_ids, targets)}
        if self.matches:
            cls, states = text_tokens[:, 0], text_tokens if continues else None
            averaged = (None, None) if targets is None else targets
            rest = (*texts, media_ids, *averaged, states)
            batch = MatchBatch(tokens, frames, visual, cls, text, *rest)
            losses["loss_itm"] = self.matching_loss(batch, contrast.temperature)
        return losses, tokens


def _kept_of(pixels: torch.Tensor | KeptFrames) -> KeptFrames | None:
    """States of the texts that came with those of the frames."""
    return pixels if isinstance(pixels, KeptFrames) else None
