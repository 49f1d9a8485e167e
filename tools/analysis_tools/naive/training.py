"""A training step of retrieval the plain way: a full momentum copy, a pass per set of pairs."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.models.heads import draw_negatives

from .model import TEXT_LENGTH, NaiveModel

_TEMPERATURE_RANGE = (0.001, 0.5)


class NaiveRetrieval(nn.Module):
    """Contrastive and matching losses as BLIP's code computes them, in float32.

    The momentum model is a deep copy of towers, adapter and projections; every parameter of it, the
    frozen ones too, is averaged in a Python loop, and it runs a second forward pass. Positives and
    negatives of the matching loss are two passes, for each of whose pairs the visual tokens are
    copied and keys and values projected in every layer. It runs with the momentum model's dropout
    off, as the package does.

    It takes over the modules of the model it is given: drop the model, so that its own averages are
    not counted as memory of this one, and don't train both.

    Args:
        model (RetrievalModel): With ``negatives='all'`` or one process.
        text_length (int): Tokens that every text is padded to. Defaults to 35.
        lr (float): Of AdamW. Defaults to 1e-5.
        weight_decay (float): Of AdamW. Defaults to 0.05.
    """

    def __init__(
        self,
        model: Any,
        text_length: int = TEXT_LENGTH,
        lr: float = 1e-5,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__()
        self.online = NaiveModel(model, text_length)
        self.momentum = copy.deepcopy(self.online)
        # The model's averages, which may stand elsewhere than its weights.
        for name, average in model.ema.averages().items():
            self.momentum.get_parameter(name).data.copy_(average)
        for parameter in self.momentum.parameters():
            parameter.requires_grad = False
        self.temp, self.queue = model.temp, model.queue
        self.share, self.rate = model.alpha * model.alpha_scale, model.ema.momentum
        self.steps = int(model.step)
        self.train(model.training)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay)

    def train(self, mode: bool = True) -> NaiveRetrieval:
        """Set the mode of the online model; the momentum model stays in evaluation mode."""
        super().train(mode)
        self.momentum.eval()
        return self

    @torch.no_grad()
    def scores(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Score one medium against texts, see :meth:`NaiveModel.score_texts`."""
        return self.online.score_texts(*args, **kwargs)

    def loss(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Losses of a batch, which move the averages and the queue on.

        Args:
            batch (dict[str, Tensor]): ``pixels`` (B, N, 3, H, W), ``input_ids`` and
                ``attention_mask`` (B, L), ``media_ids`` (B,).

        Returns:
            dict[str, Tensor]: ``loss_itc`` and ``loss_itm``, scalars.
        """
        pixels, media_ids = batch["pixels"], batch["media_ids"]
        ids, mask = self.online.pad(batch["input_ids"], batch["attention_mask"])
        with torch.no_grad():
            self.temp.clamp_(*_TEMPERATURE_RANGE)
        self.steps += 1
        tokens, visual, frames = self.online.encode_visual(pixels)
        text_cls, text = self.online.encode_text(ids, mask)
        with torch.no_grad():
            self._average()
            visual_m = self.momentum.encode_visual(pixels)[1]
            text_m = self.momentum.encode_text(ids, mask)[1]
        loss_itc = self._contrast(visual, text, visual_m, text_m, media_ids)
        drawn = self._negatives(visual, text, media_ids)
        logits, labels = self._match_pairs(tokens, frames, text_cls, text, ids, mask, drawn)
        return {"loss_itc": loss_itc, "loss_itm": F.cross_entropy(logits, labels)}

    def _average(self) -> None:
        """Average every parameter, one at a time."""
        pairs = zip(self.online.parameters(), self.momentum.parameters(), strict=True)
        for parameter, average in pairs:
            average.data = average.data * self.rate + parameter.data * (1.0 - self.rate)

    def _contrast(
        self,
        visual: torch.Tensor,
        text: torch.Tensor,
        visual_m: torch.Tensor,
        text_m: torch.Tensor,
        media_ids: torch.Tensor,
    ) -> torch.Tensor:
        """Contrastive loss against the momentum features (B, E) and the queue."""
        visual_all = torch.cat((visual_m, self.queue.visual.clone()))
        text_all = torch.cat((text_m, self.queue.text.clone()))
        same = torch.eq(media_ids[:, None], torch.cat((media_ids, self.queue.ids))[None]).float()
        same = same / same.sum(1, keepdim=True)
        with torch.no_grad():
            soft_v2t = F.softmax(visual_m @ text_all.t() / self.temp, dim=1)
            soft_t2v = F.softmax(text_m @ visual_all.t() / self.temp, dim=1)
            targets_v2t = self.share * soft_v2t + (1 - self.share) * same
            targets_t2v = self.share * soft_t2v + (1 - self.share) * same
        sims_v2t = visual @ text_all.t() / self.temp
        sims_t2v = text @ visual_all.t() / self.temp
        loss_v2t = -torch.sum(F.log_softmax(sims_v2t, dim=1) * targets_v2t, dim=1).mean()
        loss_t2v = -torch.sum(F.log_softmax(sims_t2v, dim=1) * targets_t2v, dim=1).mean()
        self.queue.push(visual_m, text_m, media_ids)
        return (loss_v2t + loss_t2v) / 2

    @torch.no_grad()
    def _negatives(
        self, visual: torch.Tensor, text: torch.Tensor, media_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A hard negative medium a text and a hard negative text a medium; -1 where none is."""
        generator = torch.Generator().manual_seed(self.steps)
        sims = text @ visual.t() / self.temp
        media = draw_negatives(sims, media_ids, media_ids, generator)
        texts = draw_negatives(sims.t(), media_ids, media_ids, generator)
        return media, texts

    def _match_pairs(
        self,
        tokens: torch.Tensor,
        frames: torch.Tensor,
        text_cls: torch.Tensor,
        text: torch.Tensor,
        ids: torch.Tensor,
        mask: torch.Tensor,
        drawn: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (P, 2) and labels (P,): a pass of the positives, then one of all negatives."""
        model, rows = self.online, torch.arange(len(ids), device=ids.device)
        sims = model.frame_sims(tokens[:, :, 0], frames, text_cls, text)
        positive = model.match(ids, mask, tokens, sims)
        media, texts = drawn
        text_rows = torch.cat((rows[media >= 0], texts[texts >= 0]))
        media_rows = torch.cat((media[media >= 0], rows[texts >= 0]))
        labels = torch.ones_like(rows)
        if not len(text_rows):
            return positive, labels
        copied = tokens[media_rows]
        sims = model.frame_sims(
            copied[:, :, 0], frames[media_rows], text_cls[text_rows], text[text_rows]
        )
        negative = model.match(ids[text_rows], mask[text_rows], copied, sims)
        return torch.cat((positive, negative)), torch.cat((labels, torch.zeros_like(text_rows)))

    def step(self, batch: dict[str, torch.Tensor]) -> float:
        """One training step: losses, backward pass, AdamW.

        Args:
            batch (dict[str, Tensor]): See :meth:`loss`.

        Returns:
            float: The sum of the losses before the step.
        """
        losses = self.loss(batch)
        loss = losses["loss_itc"] + losses["loss_itm"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
