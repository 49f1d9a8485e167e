"""Captioning: a decoder that reads visual tokens."""

from __future__ import annotations

from typing import Any

import torch

from uniadapter.registry import MODELS

from ..generation import generate
from ..heads import decoder_loss
from ..sites import Places
from .generative import GenerativeModel
from .mixed import MixedRows


@MODELS.register_module()
class CaptionModel(MixedRows, GenerativeModel):
    """Captioning on BLIP's visual tower and decoder (spec section 4).

    Args:
        visual (dict): Config of the visual tower.
        decoder (dict): Config of the decoder; its ``encoder_width`` is the visual tower's width.
        prompt (str): Begins every caption and is not in the loss; its words are its own, with a
            blank at its end or without. Defaults to ``'a picture of '``.
        max_text_len (int): Tokens of a training caption, prompt included. Defaults to 40.
        generation (dict, optional): Defaults to beam 3, at most 20 tokens, at least 5.
        **kwargs: Arguments of :class:`GenerativeModel`.

    Raises:
        ValueError: If an option is outside its set, the widths differ or the prompt leaves no room.
    """

    def __init__(
        self,
        visual: dict,
        decoder: dict,
        prompt: str = "a picture of ",
        max_text_len: int = 40,
        generation: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(visual, decoder, generation, **kwargs)
        if self.decoder.bert.encoder_width != self.visual.embed_dims:
            raise ValueError(
                f"decoder.encoder_width={self.decoder.bert.encoder_width} must be the visual "
                f"tower's width {self.visual.embed_dims}."
            )
        if not isinstance(prompt, str):
            raise ValueError(f"model.prompt={prompt!r} must be a string, '' for none.")
        self.decoder.bert.embeddings.check(max_text_len, "model.max_text_len")
        self.prompt = prompt
        self.max_text_len = max_text_len
        # A model without a preprocessor has no words: its parameters can be counted.
        if getattr(self.data_preprocessor, "tokenizer", None) is not None:
            self._check_room()

    def _check_room(self) -> None:
        """Refuse lengths that end before a caption's first word or the end behind it."""
        begin = len(self.prompt_ids())
        lengths = (
            ("model.max_text_len", self.max_text_len, 2),
            ("model.generation.max_length", self.generation.max_length, 1),
        )
        for key, length, behind in lengths:
            if length < begin + behind:
                raise ValueError(
                    f"model.prompt={self.prompt!r} takes {begin} tokens with [DEC], and "
                    f"{key}={length} leaves no room for a caption behind it: set it to at least "
                    f"{begin + behind}, or shorten the prompt."
                )

    def places(self) -> Places:
        """As the base class; a frozen decoder reads the visual tokens, a head the decoder's."""
        places = super().places()
        places.frozen = {"visual", "decoder"}
        return places

    def prompt_ids(self) -> list[int]:
        """Ids of ``[DEC]`` and the prompt."""
        return [self.dec_token_id, *self.tokenizer.encode(self.prompt)[1:-1]]

    def forward(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        media_ids: torch.Tensor | None = None,
        data_samples: list | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the model.

        Args:
            pixels (Tensor): (B, N, 3, H, W).
            input_ids (Tensor, optional): Not used; captions come with the samples.
            attention_mask (Tensor, optional): Not used.
            media_ids (Tensor, optional): Not used.
            data_samples (list, optional): B samples; ``text`` is the caption for ``mode='loss'``,
                ``pred_caption`` is set by ``mode='predict'``.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            dict | list | Tensor: ``loss_lm``; the samples; or visual tokens (B, N * M, D).
        """
        samples, seen = self.samples_of(data_samples, mode)
        if mode == "predict" and samples and not seen:
            return samples
        rows = self.rows_of(data_samples, len(pixels), mode)
        if rows is not None:
            found = self.by_adapter(rows, {"pixels": pixels}, data_samples, mode)
            return samples if mode == "predict" else found
        tokens = self.encode_frames(pixels).flatten(1, 2)
        if mode == "tensor":
            return tokens
        if mode == "loss":
            return self.loss(tokens, [sample.text for sample in seen])
        for sample, caption in zip(seen, self.caption(tokens), strict=True):
            sample.set_field(caption, "pred_caption")
        return samples

    def loss(self, tokens: torch.Tensor, captions: list[str]) -> dict[str, torch.Tensor]:
        """Language-model loss of captions behind the prompt.

        Args:
            tokens (Tensor): Visual tokens (B, S, D).
            captions (list[str]): B captions without the prompt.

        Returns:
            dict[str, Tensor]: ``loss_lm``, the mean over predicted words, those of all processes.
        """
        # Ids, not letters, are joined: with no blank between them, words would run together.
        prompt = self.prompt_ids()[1:]
        words = self.decoder_words(captions, self.max_text_len, tokens.device, prompt)
        memory = self.role("decoder").memory(tokens)
        self.loss_items = (words[2][:, 1:] != -100).sum()
        loss = decoder_loss(self.role("decoder"), words, memory, self.label_smoothing, "mean")
        return {"loss_lm": loss}

    @torch.no_grad()
    def caption(self, tokens: torch.Tensor) -> list[str]:
        """Write captions.

        Args:
            tokens (Tensor): Visual tokens (B, S, D).

        Returns:
            list[str]: B captions without the prompt.
        """
        prompt = torch.tensor([self.prompt_ids()], device=tokens.device).expand(len(tokens), -1)
        eos, pad = self.tokenizer.sep_token_id, self.tokenizer.pad_token_id
        memory = self.role("decoder").memory(tokens)
        rows = generate(self.role("decoder"), prompt, memory, self.generation, eos, pad)
        # Ids, not letters, are cut: the prompt's text may come back with other blanks.
        keep = torch.cat((rows[:, :1], rows[:, prompt.shape[1] :]), dim=1)
        return self.read_words(keep)
