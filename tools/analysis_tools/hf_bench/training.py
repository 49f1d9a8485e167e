"""A training step of VQA with LoRA: transformers' BLIP under peft, and ours."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch.profiler import ProfilerActivity, profile
from train_bench.measure import counted, device_rate
from train_bench.profile import PHASES, kind_of
from train_bench.variant import ANSWER_TOKENS, Variant, random_batch

from uniadapter.apis.model import build_model
from uniadapter.registry import SCOPE

from .twins import make_alone as make_their_model
from .twins import make_twins

LEARNING_RATE = 1e-4
#: Query and value of every attention: three matrices of transformers' names, two of ours.
THEIR_TARGETS = ("query", "value", "qkv")
#: Words of an answer that are predicted: all but the first, by which decoding starts.
PREDICTED = ANSWER_TOKENS - 1


@dataclass(frozen=True)
class Step:
    """What a training step is made of.

    Attributes:
        config: Config of a VQA model.
        rank: Of LoRA.
        batch_size: Images, each with a question and an answer.
        img_size: Side in pixels. None: the config's.
        text_length: Tokens of a question.
        dropout: Whether with BLIP's dropout in the text towers.
        seed: Of weights and inputs.
    """

    config: str
    rank: int = 16
    batch_size: int = 4
    img_size: int | None = None
    text_length: int = 12
    dropout: bool = True
    seed: int = 0

    def variant(self) -> Variant:
        """Our side, with peft's own LoRA layers."""
        adapter = {
            "_delete_": True,
            "type": "PeftAdapter",
            "config": {"peft_type": "LORA", "r": self.rank, "lora_alpha": self.rank},
            "targets": ["q", "v"],
        }
        # LoRA alone is trained on the other side.
        options: dict[str, Any] = {"model.adapter": adapter, "model.train_lm_head": False}
        if not self.dropout:
            for tower in ("text", "decoder"):
                options |= {f"model.{tower}.{k}": 0.0 for k in ("dropout", "attention_dropout")}
        return Variant(
            self.config,
            options,
            batch_size=self.batch_size,
            frames=1,
            img_size=self.img_size,
            text_length=self.text_length,
            answers=1,
            seed=self.seed,
        )


class Trainer:
    """A model, its inputs and its optimizer; the phases of a step can be called one by one."""

    def __init__(self, model: Any, losses: Callable[[], torch.Tensor]) -> None:
        self.model, self.losses = model, losses
        model.train()
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=LEARNING_RATE)
        self.loss: torch.Tensor | None = None

    def phases(self) -> dict[str, Callable[[], Any]]:
        """The phases of one step, to be called in this order."""

        def losses() -> None:
            self.loss = self.losses()

        def backward() -> None:
            if self.loss is None:
                raise RuntimeError("The forward pass comes before the backward pass.")
            self.loss.backward()

        def optimizer() -> None:
            self.optimizer.step()
            self.optimizer.zero_grad()

        return {"losses": losses, "backward": backward, "optimizer": optimizer}

    def step(self) -> None:
        """Run one step."""
        for run in self.phases().values():
            run()

    def loss_without_dropout(self) -> float:
        """The loss of the batch in evaluation mode."""
        self.model.eval()
        with torch.no_grad():
            loss = float(self.losses())
        self.model.train()
        return loss


def _answers(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Ids (B, ANSWER_TOKENS) of the only answer of each question, ``[DEC]`` first."""
    tokenizer = model.data_preprocessor.tokenizer
    ids, _ = tokenizer([sample.answers[0] for sample in batch["data_samples"]], ANSWER_TOKENS)
    ids[:, 0] = model.dec_token_id
    return ids


def _their_trainer(theirs: Any, rank: int, inputs: dict[str, Any]) -> Trainer:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(THEIR_TARGETS))
    wrapped = get_peft_model(theirs, lora)
    # Ours is the sum over an answer's words, theirs the mean over all.
    return Trainer(wrapped, lambda: wrapped(**inputs).loss * PREDICTED)


def _our_trainer(ours: Any, batch: dict[str, Any]) -> Trainer:
    return Trainer(ours, lambda: ours.parse_losses(ours(**batch, mode="loss"))[0])


def make_trainers(step: Step) -> dict[str, Trainer]:
    """Build both sides with one set of weights and one batch.

    Raises:
        ImportError: If transformers or peft is not installed.
    """
    variant = step.variant()
    cfg = variant.read_config()
    with DefaultScope.overwrite_default_scope(SCOPE):
        ours, theirs = make_twins(cfg, "BlipForQuestionAnswering", step.seed, step.dropout)
    batch = random_batch(cfg, variant, ours)
    answers = _answers(ours, batch)
    words = batch["input_ids"].clone()
    words[:, 0] = ours.enc_token_id
    inputs = _their_inputs(words, batch["pixels"], answers)
    return {
        "theirs": _their_trainer(theirs, step.rank, inputs),
        "ours": _our_trainer(ours, batch),
    }


def make_alone(step: Step, side: str) -> Trainer:
    """Build one side, with weights of its own, so that its peak memory is its own too."""
    variant = step.variant()
    cfg = variant.read_config()
    torch.manual_seed(step.seed)
    with DefaultScope.overwrite_default_scope(SCOPE):
        if side == "ours":
            ours: Any = build_model(cfg.model.to_dict())
            return _our_trainer(ours, random_batch(cfg, variant, ours))
        theirs = make_their_model(cfg, "BlipForQuestionAnswering", step.seed, step.dropout)
    size = theirs.config.vision_config.image_size
    words = torch.randint(3, 100, (step.batch_size, step.text_length))
    answers = torch.randint(3, 100, (step.batch_size, ANSWER_TOKENS))
    pixels = torch.randn(step.batch_size, 1, 3, size, size)
    return _their_trainer(theirs, step.rank, _their_inputs(words, pixels, answers))


def _their_inputs(
    words: torch.Tensor, pixels: torch.Tensor, answers: torch.Tensor
) -> dict[str, torch.Tensor]:
    return {
        "input_ids": words,
        "attention_mask": torch.ones_like(words),
        "pixel_values": pixels[:, 0],
        "decoder_input_ids": answers,
        "decoder_attention_mask": torch.ones_like(answers),
        "labels": answers,
    }


def measure_training(step: Step, rounds: int, warmup: int) -> dict[str, Any]:
    """Time both sides' steps in turns in one process.

    Returns:
        dict: ``theirs`` and ``ours`` (median seconds), ``ratio``, ``loss_theirs`` and ``loss_ours``
        of the first batch without dropout, ``trainable`` parameters of both, ``gflop``.
    """
    trainers = make_trainers(step)
    losses = {f"loss_{name}": t.loss_without_dropout() for name, t in trainers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(warmup + rounds):
        for name, trainer in trainers.items():
            start = time.perf_counter()
            trainer.step()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
        print(f"round {turn + 1}/{warmup + rounds} done", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        **medians,
        "ratio": medians["theirs"] / medians["ours"],
        **losses,
        "trainable": {n: sum(p.numel() for p in t.trained) for n, t in trainers.items()},
        "gflop": {name: counted(t.step) / 1e9 for name, t in trainers.items()},
        "matmul_gflops": device_rate("fp32") / 1e9,
    }


def profile_training(step: Step, name: str, steps: int, top: int) -> dict[str, Any]:
    """Profile one side's steps.

    Returns:
        dict: ``seconds`` a step by phase and kind, and ``operations``: the ``top`` costliest of all
        phases as ``[phase, operation, shapes, calls, seconds a step]``.
    """
    trainer = make_alone(step, name)
    trainer.step()
    seconds: dict[str, dict[str, float]] = {phase: {} for phase in PHASES}
    operations: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(steps):
        for phase, run in trainer.phases().items():
            with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
                run()
            for event in profiler.key_averages(group_by_input_shape=True):
                spent = event.self_cpu_time_total / 1e6 / steps
                kind = kind_of(event.key, phase)
                seconds[phase][kind] = seconds[phase].get(kind, 0.0) + spent
                shapes = str([s for s in event.input_shapes if s])[:80]
                entry = operations.setdefault((phase, event.key, shapes), [0.0, 0.0])
                entry[0] += event.count / steps
                entry[1] += spent
    ranked = sorted(operations.items(), key=lambda item: -item[1][1])[:top]
    return {
        "name": name,
        "seconds": seconds,
        "operations": [[*key, calls, spent] for key, (calls, spent) in ranked],
    }
