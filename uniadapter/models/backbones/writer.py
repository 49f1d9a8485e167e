"""Writing with transformers' ``generate``, whatever made the states that are read."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from uniadapter.utils.finite import refuse_nan

from ..execution import PairMemory, Words
from .libraries import of_transformers

if TYPE_CHECKING:
    from ..generation import GenerationConfig

_WHO = "T5's and BART's stacks and what writes with them"


@dataclass(frozen=True)
class Ends:
    """Which tokens begin and end what a model writes, and what its backbone's config adds to it.

    Attributes:
        config (Any): transformers' config of the model.
        start (int): What a decoder begins with.
        eos (int): Ends a text.
        pad (int): Fills ended texts.
        forced (bool): Whether beams end with that token at the greatest length. Greedy decoding
            never does. Defaults to False.
        no_repeat (int): No n-gram of this length twice in a text; 0: any. Defaults to 0.
        early_stopping (bool): Stop beams when as many texts have ended as there are beams. Defaults
            to False.
    """

    config: Any
    start: int
    eos: int
    pad: int
    forced: bool = False
    no_repeat: int = 0
    early_stopping: bool = False


@cache
def _kind() -> type:
    """The class of writers, which is made when the first text is written."""
    library = of_transformers(_WHO)

    class Writer(library.PreTrainedModel, library.GenerationMixin):  # type: ignore[name-defined]
        """A decoder as ``generate`` runs one; a view of it, which registers nothing."""

        # Attention is what the decoder's own config says.
        _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

        def __init__(self, decoder: Any, config: Any) -> None:
            super().__init__(config)
            self.generation_config = library.GenerationConfig()
            self.player = decoder

        @property
        def device(self) -> Any:
            return self.player.language.shared.weight.device

        @property
        def dtype(self) -> Any:
            return self.player.language.shared.weight.dtype

        def forward(
            self,
            decoder_input_ids: torch.Tensor,
            encoder_outputs: Any = None,
            attention_mask: torch.Tensor | None = None,
            past_key_values: Any = None,
            use_cache: bool | None = None,
            **_: Any,
        ) -> Any:
            """Logits (B, 1, V) of the next word, and what is kept of the words so far."""
            out = self.player.run(
                Words(decoder_input_ids),
                encoder_hidden_states=encoder_outputs[0],
                encoder_attention_mask=attention_mask,
                past_key_values=past_key_values,
                use_cache=use_cache,
            )
            logits = self.player.predict(out.last_hidden_state[:, -1:])
            return library.modeling_outputs.Seq2SeqLMOutput(
                logits=refuse_nan(logits, "Scores of the next word"),
                past_key_values=out.past_key_values if use_cache else None,
            )

    return Writer


def write(
    decoder: Any, memory: PairMemory, config: GenerationConfig, use_cache: bool = True
) -> torch.Tensor:
    """Write a text for each of B media.

    Args:
        decoder (Decoder): Who plays that role.
        memory (PairMemory): What it reads.
        config (GenerationConfig): Beams and lengths.
        use_cache (bool): Keep keys and values of earlier words. Defaults to True.

    Returns:
        Tensor: Ids (B, T), the decoder's first token in front, padded behind the end.

    Raises:
        NotFiniteError: If a score of a word is NaN.
    """
    library, ends, beams = of_transformers(_WHO), decoder.language.ends, config.num_beams > 1
    options = library.GenerationConfig(
        num_beams=config.num_beams,
        max_length=config.max_length,
        min_length=config.min_length,
        length_penalty=config.length_penalty if beams else None,
        early_stopping=ends.early_stopping if beams else None,
        no_repeat_ngram_size=ends.no_repeat,
        forced_eos_token_id=ends.eos if ends.forced and beams else None,
        decoder_start_token_id=ends.start,
        eos_token_id=ends.eos,
        pad_token_id=ends.pad,
        do_sample=False,
        use_cache=use_cache,
    )
    states, mask = memory.read()
    writer = _kind()(decoder, deepcopy(ends.config))
    rows: torch.Tensor = writer.generate(
        encoder_outputs=library.modeling_outputs.BaseModelOutput(last_hidden_state=states),
        attention_mask=None if mask is None else mask.long(),
        generation_config=options,
    )
    return rows
