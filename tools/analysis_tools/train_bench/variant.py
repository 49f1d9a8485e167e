"""What is timed: a config's model with random weights, on random inputs of real sizes."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from naive import NaiveRetrieval
from rerank_bench.inputs import caption_lengths, random_captions

from uniadapter.apis.model import build_model
from uniadapter.models.precision import cast_frozen
from uniadapter.registry import SCOPE
from uniadapter.structures import MultimodalSample
from uniadapter.utils import devices
from uniadapter.utils.config import load_model_config

from .features import READER, Turns, feature_batch, without_files
from .tap_reader import TapReader

MODES = ("loss", "predict")
#: Tokens of an answer with [CLS] and [SEP], and answers of a question; VQAv2's have about as many.
ANSWER_TOKENS, ANSWERS = 3, 2
#: Candidates of rank inference where the config's answer list is a file of real data.
CANDIDATES = 1500


@dataclass(frozen=True)
class Variant:
    """A model and the batch it runs.

    Attributes:
        config (str): Config file.
        options (dict): Changes of the config by dotted key.
        mode (str): ``'loss'``: training steps; ``'predict'``: forward passes of the test without
            gradients (retrieval: both encoders; VQA: answers; captioning: beam search).
        precision (str): ``'fp32'`` or ``'bf16'`` autocast.
        frozen_bf16 (bool): Store the frozen weights in bf16, see ``cast_frozen``.
        compiled (bool): Run the model through torch.compile, as ``CompileHook`` does.
        naive (bool): Run the naive reference with this model's weights (retrieval, fp32).
        batch_size (int): Media a step.
        frames (int): Frames a medium.
        img_size (int, optional): Side in pixels. None: the config's.
        text_length (int, optional): Tokens of every text. None: lengths that resemble MSR-VTT's,
            12 on average.
        target_length (int, optional): Tokens of every target, of a model that reads features of
            pictures; such a model needs it and the length of texts.
        answers (int): Answers of a question.
        device (str): ``'cpu'``, ``'cuda'`` or ``'cuda:1'``.
        taps (str, optional): Folder of kept taps, from which every step reads its batch.
        seed (int): Of weights and inputs.
    """

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    mode: str = "loss"
    precision: str = "fp32"
    frozen_bf16: bool = False
    compiled: bool = False
    naive: bool = False
    batch_size: int = 2
    frames: int = 8
    img_size: int | None = None
    text_length: int | None = None
    target_length: int | None = None
    answers: int = ANSWERS
    device: str = "cpu"
    taps: str | None = None
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to hand it to another process."""
        return asdict(self)

    def read_config(self) -> Config:
        """Read the config with the variant's changes.

        Raises:
            ValueError: If it has no model or, for training steps, no optimizer, or the model has no
                visual tower and is none that reads features.
        """
        options = copy.deepcopy(self.options)
        if self.img_size is not None:
            options["model.visual.img_size"] = self.img_size
        cfg = load_model_config(self.config, options)
        for key in ("model", "optim_wrapper")[: 2 if self.mode == "loss" else 1]:
            if key not in cfg:
                raise ValueError(f"{self.config} has no key {key!r}: name a training config.")
        if cfg.model.type == READER and self.target_length is not None:
            without_files(cfg)
        elif "visual" not in cfg.model:
            raise ValueError(
                f"{self.config}: key 'model.visual' is not set, and what is measured reads pixels: "
                "name another config. --vl-adapter measures VL-BART."
            )
        if isinstance(cfg.model.get("answer_list"), str) or (
            cfg.model.type == "VQAModel" and not cfg.model.get("answer_list")
        ):
            # Of real data, which need not be here.
            cfg.model.answer_list = None
        return cfg


def _lengths(variant: Variant) -> list[int]:
    if variant.text_length is not None:
        return [variant.text_length] * variant.batch_size
    return caption_lengths(variant.batch_size, variant.seed)


def random_batch(cfg: Config, variant: Variant, model: Any) -> dict[str, Any]:
    """Inputs as the data preprocessor returns them."""
    if cfg.model.type == READER:
        return feature_batch(cfg, variant, model)
    torch.manual_seed(variant.seed)
    size, count = cfg.model.visual.get("img_size", 224), variant.batch_size
    batch: dict[str, Any] = {"pixels": torch.randn(count, variant.frames, 3, size, size)}
    lengths = torch.tensor(_lengths(variant))
    task = cfg.model.type
    if task != "CaptionModel":
        # The last two words are marks: BLIP's [DEC] and [ENC], CLIP's start and end.
        vocabulary = cfg.model.text.get("vocab_size", 30524) - 2
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        words = torch.randint(1, vocabulary, mask.shape)
        batch["input_ids"], batch["attention_mask"] = words * mask, mask.long()
    if task in ("VQAModel", "CaptionModel"):
        batch["data_samples"] = _samples(model.data_preprocessor.tokenizer, variant, lengths)
    elif variant.mode == "loss":
        batch["media_ids"] = torch.arange(count)
    return batch


def _samples(tokenizer: Any, variant: Variant, lengths: torch.Tensor) -> list[MultimodalSample]:
    captions = random_captions(tokenizer, lengths.tolist(), variant.seed)
    answers = random_captions(
        tokenizer, [ANSWER_TOKENS] * (variant.answers * variant.batch_size), variant.seed
    )
    samples = []
    for row, caption in enumerate(captions):
        own = answers[variant.answers * row : variant.answers * (row + 1)]
        weights = [1 / variant.answers] * variant.answers
        info = {"text": caption, "answers": own, "answer_weights": weights}
        samples.append(MultimodalSample(metainfo={**info, "skipped": False}))
    return samples


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        ValueError: If torch finds none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"--device {device}: torch finds no CUDA device here: leave --device out, or install "
            "torch with CUDA and its driver."
        )
    devices.check_device(device)


def synchronize(device: str) -> None:
    """Wait until a CUDA device has done what it was given; a CPU is done at once."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _moved(value: Any, device: str) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


class Stepper:
    """A variant that is built and can be run step by step.

    Args:
        variant (Variant): What to run.
    """

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        cfg = variant.read_config()
        check_device(variant.device)
        torch.manual_seed(variant.seed)
        self.model: Any = build_model(cfg.model.to_dict()).to(variant.device)
        self.model.train(variant.mode == "loss")
        self.img_size = cfg.model.visual.get("img_size", 224) if "visual" in cfg.model else None
        self.turns = Turns(self.model.tasks.names) if cfg.model.type == READER else None
        self.trainable = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        batch = random_batch(cfg, variant, self.model)
        self.batch = {key: _moved(value, variant.device) for key, value in batch.items()}
        if getattr(self.model, "inference", None) == "rank" and self.model.answer_list is None:
            tokenizer = self.model.data_preprocessor.tokenizer
            words = random_captions(tokenizer, [ANSWER_TOKENS] * 4 * CANDIDATES, variant.seed)
            self.model.set_adapter_extras({"answer_list": sorted(set(words))[:CANDIDATES]})
        self.wrapper = None
        if variant.naive:
            self.model = NaiveRetrieval(self.model)
        elif variant.mode == "loss":
            with DefaultScope.overwrite_default_scope(SCOPE):
                self.wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.reader = TapReader(variant.taps, self.model) if variant.taps else None
        if variant.frozen_bf16:
            cast_frozen(self.model, "bfloat16")
        if variant.compiled:
            self.model.forward = torch.compile(self.model.forward)

    def _autocast(self) -> AbstractContextManager:
        if self.variant.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.variant.device.split(":")[0], torch.bfloat16)

    def losses(self) -> dict[str, torch.Tensor]:
        """Losses of the batch, with the graph; they move averages and queue on."""
        if self.variant.naive:
            return self.model.loss(self.batch)
        with self._autocast():
            return self.model(**self.batch, mode="loss")

    def loss_without_dropout(self) -> float:
        """The sum of the losses without dropout, to compare variants of the same weights."""
        self.model.eval()
        with torch.no_grad():
            loss = sum(float(value) for value in self.losses().values())
        self.model.train()
        return loss

    def step(self) -> float:
        """Run one step: losses, backward pass and optimizer, or a forward pass of the test.

        Returns:
            float: The sum of the losses; 0 for a forward pass.
        """
        if self.variant.mode == "predict":
            with torch.no_grad(), self._autocast():
                self.model(
                    **self.batch, mode="predict" if "data_samples" in self.batch else "tensor"
                )
            return 0.0
        if self.variant.naive:
            return self.model.step(self.batch)
        if self.reader is not None:
            self.batch["pixels"] = self.reader.read(self.batch)
        if self.turns is not None:
            self.turns.take(self.batch)
        with self._autocast():
            loss, _ = self.model.parse_losses(self.model(**self.batch, mode="loss"))
        self.wrapper.update_params(loss)
        return float(loss.detach())
