"""Video-text and image-text retrieval: contrastive and matching losses on adapted towers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from mmengine.dist import get_rank
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.dist import gather_ragged, own_rows, weigh_mean
from uniadapter.utils.tensors import at_least_float32

from ..adapters.base import check_choice
from ..backbones.bert import BertModel, CrossInput
from ..backbones.vit import Prefix
from ..heads import FeatureQueue, contrastive_loss
from ..momentum import TrainedEMA
from ..necks import FrameAwareAttention
from .base import VisionLanguageModel
from .matching import MatchBatch, draw_pairs
from .scoring import TextScoring

_TEMPERATURE_RANGE = (0.001, 0.5)
_RANK_STRIDE = 10_007


@MODELS.register_module()
class RetrievalModel(TextScoring, VisionLanguageModel):
    """Retrieval on BLIP's towers (spec section 4): ITC with momentum and queue, ITM, PFA.

    Args:
        visual (dict): Config of the visual tower.
        text (dict): Config of the text and multimodal tower.
        adapter (dict, optional): Config of the adapter.
        pfa (dict, optional): Config of :class:`FrameAwareAttention`. None: all frames alike.
        embed_dim (int): Width E of the contrastive features. Defaults to 256.
        temperature (float): Initial temperature, clamped to [0.001, 0.5]. Defaults to 0.07.
        train_temperature (bool): Train it, as BLIP does. Defaults to True.
        momentum (float): Weight of the momentum averages. Defaults to 0.995.
        queue_size (int): Entries of the feature queue; any batch size fits. Defaults to 57600.
        alpha (float): Share of the momentum distribution in the soft targets. Defaults to 0.4;
            ``alpha_scale`` ramps it.
        negatives (str): Hard negatives from ``'all'`` ranks or the ``'own'`` one.
        **kwargs: Arguments of :class:`VisionLanguageModel`.

    Raises:
        ValueError: If an option is outside its set or the vocabularies differ.
    """

    text: BertModel
    step: torch.Tensor

    def __init__(
        self,
        visual: dict,
        text: dict,
        adapter: dict | None = None,
        pfa: dict | None = None,
        embed_dim: int = 256,
        temperature: float = 0.07,
        train_temperature: bool = True,
        momentum: float = 0.995,
        queue_size: int = 57600,
        alpha: float = 0.4,
        negatives: str = "all",
        **kwargs: Any,
    ) -> None:
        super().__init__(visual=visual, text=text, adapter=adapter, **kwargs)
        check_choice(negatives, ("all", "own"), "model.negatives")
        if queue_size < 1 or embed_dim < 1:
            raise ValueError(f"model.{queue_size=} and model.{embed_dim=} must be at least 1.")
        if not 0 <= momentum <= 1 or not 0 <= alpha <= 1:
            raise ValueError(
                f"model.momentum={momentum} and model.alpha={alpha} must be in [0, 1]."
            )
        if self.text.encoder_width != self.visual.embed_dims:
            raise ValueError(
                f"text.encoder_width={self.text.encoder_width} must be the visual tower's width "
                f"{self.visual.embed_dims}."
            )
        if not isinstance(pfa, Mapping | None):
            raise ValueError(f"model.pfa={pfa!r} must be a dict with a `type`, or None.")
        self.pfa: FrameAwareAttention | None = None if pfa is None else MODELS.build(pfa)
        self.vision_proj = nn.Linear(self.visual.embed_dims, embed_dim)
        self.text_proj = nn.Linear(self.text.hidden_size, embed_dim)
        self.itm_head = nn.Linear(self.text.hidden_size, 2)
        self.temp = nn.Parameter(torch.tensor(float(temperature)))
        self.train_temperature = train_temperature
        self.alpha, self.alpha_scale = alpha, 1.0
        self.negatives = negatives
        self.dec_token_id, self.enc_token_id = self._special_ids()
        self.queue = FeatureQueue(embed_dim, queue_size)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.finish()
        self.ema = TrainedEMA(self, self._averaged(), momentum)

    def _special_ids(self) -> tuple[int, int]:
        """Ids of ``[DEC]`` and ``[ENC]``, the last two words of the vocabulary."""
        size = self.text.vocab_size
        tokenizer = getattr(self.data_preprocessor, "tokenizer", None)
        if tokenizer is not None and tokenizer.vocab_size != size:
            raise ValueError(
                f"text.vocab_size={size}, but the tokenizer of data_preprocessor has "
                f"{tokenizer.vocab_size} words ([DEC] and [ENC] included): make them agree."
            )
        return size - 2, size - 1

    def _averaged(self) -> list[str]:
        """Trained parameters that the momentum features depend on."""
        unused = {id(p) for p in (*self.itm_head.parameters(), self.temp)}
        unused |= {id(p) for p in (self.decoder.parameters() if self.decoder else ())}
        return [n for n, p in self.named_parameters() if p.requires_grad and id(p) not in unused]

    def heads(self) -> dict[str, nn.Module]:
        """Both projections and the matching head."""
        return {
            "vision_proj": self.vision_proj,
            "text_proj": self.text_proj,
            "itm_head": self.itm_head,
        }

    def scalars(self) -> dict[str, nn.Parameter]:
        """The temperature."""
        return {"temperature": self.temp}

    def trainable_components(self) -> list[str]:
        """As the base class, less the temperature when it is frozen."""
        names = super().trainable_components()
        return [name for name in names if name != "temperature" or self.train_temperature]

    def on_weights_loaded(self) -> None:
        """Start the momentum averages from the loaded weights."""
        self.ema.reset(self)

    def encode_visual(
        self, pixels: torch.Tensor, prefix: Prefix | None = None, class_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode videos (or images, as videos of one frame).

        Args:
            pixels (Tensor): (B, N, 3, H, W), normalised.
            prefix (Prefix, optional): From :meth:`shared_prefix`, of the same pixels.
            class_only (bool): Compute the class tokens only (M = 1). Defaults to False.

        Returns:
            tuple: Tokens (B, N, M, D); video features (B, E) of the frames' mean class token;
            frame features (B, N, E). Features: length 1, float32 or more.
        """
        tokens = self.encode_frames(pixels, prefix, class_only)
        cls = tokens[:, :, 0]
        feature = F.normalize(at_least_float32(self.vision_proj(cls.mean(1))), dim=-1)
        frames = F.normalize(at_least_float32(self.vision_proj(cls)), dim=-1)
        return tokens, feature, frames

    def encode_text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, class_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode texts without looking at media.

        Args:
            input_ids (Tensor): (T, L) word ids, the first ``[CLS]``.
            attention_mask (Tensor): (T, L), 0 where a token is padding.
            class_only (bool): Compute the first token only (L = 1). Defaults to False.

        Returns:
            tuple: Tokens (T, L, D) and features (T, E) of length 1, at least float32.
        """
        # Callers that want all tokens may look at those of padding as well.
        pack = class_only and self.fast.pack_texts
        tokens, _ = self.text(input_ids, attention_mask, first_only=class_only, pack=pack)
        return tokens, F.normalize(at_least_float32(self.text_proj(tokens[:, 0])), dim=-1)

    def frame_sims(
        self,
        frame_cls: torch.Tensor,
        frame_features: torch.Tensor,
        text_cls: torch.Tensor,
        text_features: torch.Tensor,
    ) -> torch.Tensor | None:
        """Similarities (T, V, N) that PFA turns into weights; None without PFA.

        Args:
            frame_cls (Tensor): Class tokens of the frames, (V, N, D).
            frame_features (Tensor): Frame features, (V, N, E).
            text_cls (Tensor): Class tokens of the texts, (T, D).
            text_features (Tensor): Text features, (T, E).
        """
        if self.pfa is None:
            return None
        return self.pfa.frame_sims(frame_cls, frame_features, text_cls, text_features)

    def match(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        visual_tokens: torch.Tensor,
        frame_sims: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Match texts with media row by row.

        Args:
            input_ids (Tensor): (P, L), ``[CLS]`` first; ``[ENC]`` is put in its place here.
            attention_mask (Tensor): (P, L), 0 where a token is padding.
            visual_tokens (Tensor): (P, N, M, D) from :meth:`encode_visual`.
            frame_sims (Tensor, optional): (P, N) raw similarities of each pair, which PFA turns
                into weights. None weighs all frames alike.

        Returns:
            Tensor: Logits (P, 2); column 1 means that text and medium belong together.

        Raises:
            ValueError: If texts, media and similarities don't go together.
        """
        cross = self.text.read(visual_tokens.flatten(1, 2))
        cross = self._weigh(cross, frame_sims, visual_tokens.shape[2])
        return self._match(input_ids, attention_mask, cross)

    def _weigh(
        self, cross: CrossInput, frame_sims: torch.Tensor | None, tokens_per_frame: int
    ) -> CrossInput:
        """Add PFA's factor for pairs with similarities (P, N)."""
        if self.pfa is None or frame_sims is None:
            return cross
        frames = cross.size()[1] // tokens_per_frame
        if frame_sims.shape[-1] != frames:
            raise ValueError(f"{frames} frames, but frame_sims {tuple(frame_sims.shape)} (P, N).")
        if frames == 1:
            return cross
        weights = self.pfa.token_weights(frame_sims, tokens_per_frame)
        return cross.with_weights(weights, self.pfa.weigh_states)

    def _match(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, cross: CrossInput
    ) -> torch.Tensor:
        ids, only = self._marked(input_ids), self.fast.class_tokens
        pack = self.fast.pack_texts
        hidden, _ = self.text(ids, attention_mask, cross, first_only=only, pack=pack)
        return self._matching_logits(hidden[:, 0])

    def _matching_logits(self, cls: torch.Tensor) -> torch.Tensor:
        """Logits (P, 2), at least float32: in half precision near ones would tie."""
        with torch.autocast(cls.device.type, enabled=False):
            return at_least_float32(self.itm_head(cls.to(self.itm_head.weight.dtype)))

    def _marked(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Texts with ``[ENC]`` in the place of ``[CLS]``."""
        first = torch.full_like(input_ids[:, :1], self.enc_token_id)
        return torch.cat((first, input_ids[:, 1:]), 1)

    def forward(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media_ids: torch.Tensor | None = None,
        data_samples: list | None = None,
        mode: str = "tensor",
        prefix: Prefix | None = None,
    ) -> Any:
        """Run the model.

        Args:
            pixels (Tensor): (B, N, 3, H, W).
            input_ids (Tensor): (T, L); T = B with ``mode='loss'``.
            attention_mask (Tensor): (T, L).
            media_ids (Tensor, optional): (B,); texts and media of one id are positives.
            data_samples (list, optional): Samples, passed through by ``mode='predict'``.
            mode (str): ``'loss'``, ``'tensor'``, ``'features'`` or ``'predict'``.
            prefix (Prefix, optional): From :meth:`shared_prefix`, of the same pixels.

        Returns:
            dict | tuple | list: Losses; a dict of tokens and features; contrastive features
            (visual (B, E), text (T, E)); or the samples with their similarities to all texts.
        """
        if mode == "loss":
            if media_ids is None or not len(media_ids) == len(input_ids) == len(pixels):
                raise ValueError("mode='loss' needs media_ids and one text a medium.")
            return self.loss(pixels, input_ids, attention_mask, media_ids)
        samples = [s for s in data_samples or [] if not getattr(s, "skipped", False)]
        if mode == "predict" and not samples and not len(pixels):
            return []
        only = mode == "features" and self.fast.class_tokens
        tokens, feature, frames = self.encode_visual(pixels, prefix, only)
        text_tokens, text_feature = self.encode_text(input_ids, attention_mask, only)
        if mode == "features":
            return feature, text_feature
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
    ) -> dict[str, torch.Tensor]:
        """Contrastive and matching loss of a batch of B pairs.

        Args:
            pixels (Tensor): (B, N, 3, H, W).
            input_ids (Tensor): (B, L).
            attention_mask (Tensor): (B, L).
            media_ids (Tensor): (B,).

        Returns:
            dict[str, Tensor]: ``loss_itc`` and ``loss_itm``, scalars.
        """
        losses, _ = self._contrast_and_match(pixels, input_ids, attention_mask, media_ids)
        return losses

    def _contrast_and_match(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media_ids: torch.Tensor,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The losses, and the visual tokens for further ones."""
        with torch.no_grad():
            self.temp.clamp_(*_TEMPERATURE_RANGE)
            self.step += 1
        prefix = self.shared_prefix(pixels)
        # First what needs no graph: its memory is free again when the graph is built.
        self.ema.update(self)
        texts = (input_ids, attention_mask)
        momentum = self.ema.call(self, pixels, *texts, mode="features", prefix=prefix)
        tokens, visual, frames = self.encode_visual(pixels, prefix)
        text_tokens, text = self.encode_text(*texts, self.fast.class_tokens)
        with torch.autocast(pixels.device.type, enabled=False):
            loss_itc = self._contrast(visual, text, momentum, media_ids)
        batch = MatchBatch(
            tokens, frames, visual, text_tokens[:, 0], text, input_ids, attention_mask, media_ids
        )
        loss_itm = self._hard_matching(batch)
        return {"loss_itc": loss_itc, "loss_itm": loss_itm}, tokens

    def _contrast(
        self,
        visual: torch.Tensor,
        text: torch.Tensor,
        momentum: tuple[torch.Tensor, torch.Tensor],
        media_ids: torch.Tensor,
    ) -> torch.Tensor:
        """ITC against the momentum features of all ranks and the queue, which then takes them."""
        visual_m, text_m, ids = (gather_ragged(t) for t in (*momentum, media_ids))
        queue = self.queue
        candidates = (torch.cat((visual_m, queue.visual)), torch.cat((text_m, queue.text)))
        candidate_ids = torch.cat((ids, queue.ids))
        alpha = self.alpha * self.alpha_scale
        features = (visual, text, momentum, candidates)
        at_once = self.fast.contrast_at_once
        # A copy: the next step clamps the parameter in place, perhaps before this one's backward.
        temperature = self.temp.clone()
        loss = contrastive_loss(*features, media_ids, candidate_ids, temperature, alpha, at_once)
        queue.push(visual_m, text_m, ids)
        return weigh_mean(loss, len(media_ids))

    def _hard_matching(self, batch: MatchBatch) -> torch.Tensor:
        """ITM of the positives, a hard negative medium a text and a hard negative text a medium."""
        size, device = len(batch.ids), batch.ids.device
        rows, seed = torch.arange(size, device=device), int(self.step)
        if self.negatives == "all":
            rows = own_rows(size).to(device)
            batch = batch.gather()
        else:
            seed += _RANK_STRIDE * get_rank()
        pairs = draw_pairs(batch, rows, self.temp, seed)
        media, owner = pairs.media, None
        if self.fast.share_kv:
            # Media are projected once each, however many pairs they are in.
            media, owner = torch.unique(media, return_inverse=True)
        states = batch.tokens[media]
        cross = self.text.read(states.flatten(1, 2), owner=owner)
        cross = replace(cross, recompute=self.fast.recompute_kv)
        sims = self.frame_sims(states[:, :, 0], batch.frames[media], batch.text_cls, batch.text)
        if sims is not None:
            place = torch.arange(len(media), device=device) if owner is None else owner
            cross = self._weigh(cross, sims[pairs.texts, place], states.shape[2])
        logits = self._match(batch.input_ids[pairs.texts], batch.mask[pairs.texts], cross)
        return weigh_mean(F.cross_entropy(logits, pairs.labels), len(pairs.labels))
