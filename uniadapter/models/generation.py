"""Greedy and beam-search decoding with cached keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from uniadapter.utils.finite import refuse_nan
from uniadapter.utils.tensors import at_least_float32

from .backbones.base import Decoder, Past
from .execution import PairMemory, Words

_NEVER = -1.0e9


@dataclass(frozen=True)
class GenerationConfig:
    """How texts are generated.

    Attributes:
        num_beams (int): 1 is greedy decoding. Defaults to 3.
        max_length (int): Longest text in tokens, the prompt included. Defaults to 20.
        min_length (int): No end of text before so many tokens, the prompt included. Defaults to 5.
        length_penalty (float): Scores are divided by (generated tokens) ** this. Defaults to 1.
    """

    num_beams: int = 3
    max_length: int = 20
    min_length: int = 5
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.max_length < 2:
            raise ValueError(
                f"generation.num_beams={self.num_beams} must be at least 1 and "
                f"generation.max_length={self.max_length} at least 2."
            )


@dataclass
class _Beams:
    """Texts still growing: ids (B, K, T), summed log-probabilities (B, K)."""

    ids: torch.Tensor
    scores: torch.Tensor


@torch.no_grad()
def generate(
    decoder: Decoder,
    prompt: torch.Tensor,
    memory: PairMemory,
    config: GenerationConfig,
    eos_token_id: int,
    pad_token_id: int = 0,
) -> torch.Tensor:
    """Continue a prompt for each of B media.

    The rules are those of transformers' generate with ``early_stopping=False``: a text is final
    when it ends among the best K candidates, final texts compete by length-normalised score, and
    decoding stops when the best growing text can no longer beat the worst of K final ones.

    Args:
        decoder (Decoder): Who plays that role.
        prompt (Tensor): (B, L) word ids, the first ``[DEC]``; no padding.
        memory (PairMemory): What cross-attention reads, one medium a prompt.
        config (GenerationConfig): Beams and lengths.
        eos_token_id (int): Ends a text.
        pad_token_id (int): Fills ended texts. Defaults to 0.

    Returns:
        Tensor: (B, max_length) word ids, the prompt included, padded behind the end.

    Raises:
        ValueError: If the prompt fills ``max_length`` already, or there is not one medium a prompt.
    """
    batch, start = prompt.shape
    if memory.texts != batch:
        raise ValueError(f"{batch} prompts need as many media, got {memory.texts}.")
    if start >= config.max_length:
        raise ValueError(
            f"The prompt has {start} tokens, generation.max_length={config.max_length} leaves no "
            "room: raise it or shorten the prompt."
        )
    memory = memory.kept()
    if config.num_beams == 1:
        return _greedy(decoder, prompt, memory, config, eos_token_id, pad_token_id)
    return _beam_search(decoder, prompt, memory, config, eos_token_id, pad_token_id)


def _next_log_probs(
    logits: torch.Tensor, length: int, config: GenerationConfig, eos: int
) -> torch.Tensor:
    """Log-probabilities (..., V) of the next word; no end before ``min_length``."""
    log_probs = at_least_float32(logits[:, -1]).log_softmax(-1)
    # One NaN among the logits makes the probabilities of all words NaN.
    refuse_nan(log_probs[:, 0], "Probabilities of the next word")
    if length < config.min_length:
        log_probs[:, eos] = float("-inf")
    return log_probs


def _greedy(
    decoder: Decoder,
    prompt: torch.Tensor,
    memory: PairMemory,
    config: GenerationConfig,
    eos: int,
    pad: int,
) -> torch.Tensor:
    out = prompt.new_full((prompt.shape[0], config.max_length), pad)
    out[:, : prompt.shape[1]] = prompt
    ended = torch.zeros(prompt.shape[0], dtype=torch.bool, device=prompt.device)
    words, past = prompt, None
    for length in range(prompt.shape[1], config.max_length):
        logits, past = decoder.logits(Words(words), memory, past)
        words = _next_log_probs(logits, length, config, eos).argmax(-1, keepdim=True)
        words = words.masked_fill(ended[:, None], pad)
        out[:, length] = words[:, 0]
        ended |= words[:, 0] == eos
        if bool(ended.all()):
            break
    return out


def _take(x: torch.Tensor, beams: torch.Tensor) -> torch.Tensor:
    """Choose beams (B, K') of x (B, K, ...)."""
    index = beams.view(*beams.shape, *([1] * (x.dim() - 2))).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)


def _reorder(past: Past, rows: torch.Tensor) -> Past:
    return [(key[rows], value[rows]) for key, value in past]


def _beam_search(
    decoder: Decoder,
    prompt: torch.Tensor,
    memory: PairMemory,
    config: GenerationConfig,
    eos: int,
    pad: int,
) -> torch.Tensor:
    batch, start = prompt.shape
    beams, device = config.num_beams, prompt.device
    ids = prompt.new_full((batch, beams, config.max_length), pad)
    ids[:, :, :start] = prompt[:, None]
    # Beams are alike at first: only the first one may continue.
    growing = _Beams(ids, torch.full((batch, beams), _NEVER, device=device))
    growing.scores[:, 0] = 0.0
    final = _Beams(ids.clone(), torch.full((batch, beams), _NEVER, device=device))
    done = torch.zeros(batch, beams, dtype=torch.bool, device=device)
    improving = torch.ones(batch, 1, dtype=torch.bool, device=device)
    offset = torch.arange(batch, device=device)[:, None] * beams
    # The prompt is run once a medium; its cache is then dealt to the beams.
    logits, past = decoder.logits(Words(prompt), memory)
    rows = torch.arange(batch, device=device).repeat_interleave(beams)
    logits, past = logits[rows], _reorder(past, rows)
    memory = memory.of(rows)
    for length in range(start, config.max_length):
        log_probs = _next_log_probs(logits, length, config, eos).view(batch, beams, -1)
        candidates, beam, ended = _extend(growing, log_probs, length, eos, config.max_length)
        normalised = candidates.scores / (length + 1 - start) ** config.length_penalty
        eligible = ended & improving
        eligible[:, beams:] = False
        final, done = _keep_best(
            final, done, candidates, normalised.masked_fill(~eligible, _NEVER), eligible
        )
        # All candidates have ended at the greatest length.
        scores, chosen = candidates.scores.add(ended * _NEVER).topk(beams)
        growing = _Beams(_take(candidates.ids, chosen), scores)
        best = scores[:, :1] / (length + 1 - start) ** config.length_penalty
        worst = final.scores.min(1, keepdim=True).values
        improving = improving & (best > torch.where(done, worst, _NEVER)).any(1, keepdim=True)
        if length + 1 == config.max_length or not bool((improving | ~done.any(1, True)).any()):
            break
        rows = (beam.gather(1, chosen) + offset).flatten()
        words = growing.ids[:, :, length].reshape(-1, 1)
        logits, past = decoder.logits(Words(words), memory, _reorder(past, rows))
    return final.ids[:, 0]


def _extend(
    growing: _Beams, log_probs: torch.Tensor, length: int, eos: int, max_length: int
) -> tuple[_Beams, torch.Tensor, torch.Tensor]:
    """The best 2K continuations, the beam each comes from, and whether it has ended.

    2K, so that K are left to grow even if the best K all end.
    """
    vocab = log_probs.shape[-1]
    total = (growing.scores[:, :, None] + log_probs).flatten(1)
    scores, flat = total.topk(2 * growing.scores.shape[1])
    beam, word = flat // vocab, flat % vocab
    ids = _take(growing.ids, beam)
    ids[:, :, length] = word
    ended = (word == eos) | (length + 1 == max_length)
    return _Beams(ids, scores), beam, ended


def _keep_best(
    final: _Beams,
    done: torch.Tensor,
    candidates: _Beams,
    scores: torch.Tensor,
    eligible: torch.Tensor,
) -> tuple[_Beams, torch.Tensor]:
    """Merge newly ended texts into the K best final ones."""
    all_scores = torch.cat((final.scores, scores), dim=1)
    best, chosen = all_scores.topk(final.scores.shape[1])
    ids = _take(torch.cat((final.ids, candidates.ids), dim=1), chosen)
    return _Beams(ids, best), torch.cat((done, eligible), dim=1).gather(1, chosen)
