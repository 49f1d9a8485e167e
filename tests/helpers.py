"""Tiny configs and data that several tests share."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from pprint import pformat
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "white": (240,) * 3}
SHAPES = ("square", "bar", "cross", "dot")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "moves", *COLORS, *SHAPES]
VOCAB_SIZE = len(WORDS) + 2
IMAGE_SIZE = 32


def draws(core: int, deep: int | None = None) -> int:
    """Number of examples of a property: few in the core suite, 20 times as many in the deep one."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "deep":
        return 20 * core if deep is None else deep
    return core


def write_vocab(path: Path) -> Path:
    """Write the vocabulary of the tiny models."""
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


def tiny_retrieval_cfg(vocab_file: str | Path | None = None, **overrides: Any) -> dict[str, Any]:
    """Config of a RetrievalModel with two layers of width 32, without dropout.

    With ``vocab_file`` it gets a data preprocessor.
    """
    cfg: dict[str, Any] = {
        "type": "RetrievalModel",
        "visual": {
            "type": "BlipViT",
            "arch": {
                "embed_dims": 32,
                "num_layers": 2,
                "num_heads": 2,
                "feedforward_channels": 64,
            },
            "img_size": IMAGE_SIZE,
            "patch_size": 16,
        },
        "text": {
            "type": "BertModel",
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "intermediate_size": 64,
            "encoder_width": 32,
            "max_positions": 40,
            "dropout": 0.0,
            "attention_dropout": 0.0,
        },
        "adapter": {"type": "UniAdapter", "bottleneck": 8},
        "pfa": {"type": "FrameAwareAttention"},
        "embed_dim": 16,
        "queue_size": 24,
    }
    if vocab_file is not None:
        cfg["data_preprocessor"] = {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": {"vocab_file": str(vocab_file)},
        }
    return {**cfg, **overrides}


def write_clip(folder: Path, color: str, shape: str, frames: int = 6) -> None:
    """Write a clip as a folder of frames: a shape of one colour that moves over a grey ground."""
    folder.mkdir(parents=True)
    for index in range(frames):
        canvas = np.full((40, 48, 3), 90, dtype=np.uint8)
        x = 4 + 4 * index
        rows, columns = {
            "square": (slice(12, 26), slice(x, x + 14)),
            "bar": (slice(18, 22), slice(x, x + 20)),
            "cross": (slice(6, 34), slice(x + 6, x + 9)),
            "dot": (slice(20, 24), slice(x, x + 4)),
        }[shape]
        canvas[rows, columns] = COLORS[color]
        Image.fromarray(canvas).save(folder / f"{index:03d}.png")


def write_world(root: Path) -> Path:
    """Write a data set of 16 clips (a colour, a shape) with captions, split 16 / 8, and a vocab."""
    names: list[tuple[str, str]] = []
    for color in COLORS:
        for shape in SHAPES:
            name = f"{color}_{shape}"
            write_clip(root / "clips" / name, color, shape)
            names.append((name, f"a {color} {shape} moves"))
    lines = [json.dumps({"media": name, "text": text}) for name, text in names]
    (root / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "test.jsonl").write_text("\n".join(lines[::2]) + "\n", encoding="utf-8")
    write_vocab(root / "vocab.txt")
    return root


def _dataloader(root: Path, split: str, batch_size: int, random: bool) -> dict[str, Any]:
    training = split == "train"
    pipeline: list[dict[str, Any]] = [
        {
            "type": "LoadVideo",
            "num_frames": 2,
            "sampling": "random" if random else "center",
            "backend": {"type": "frames"},
        },
        {"type": "VideoResize", "size": IMAGE_SIZE},
    ]
    if random:
        pipeline[1] = {"type": "VideoRandomResizedCrop", "size": IMAGE_SIZE, "scale": (0.5, 1.0)}
        pipeline.append({"type": "VideoFlip", "prob": 0.5})
    sampler: dict[str, Any] = {"type": "DefaultSampler", "shuffle": training}
    return {
        "batch_size": batch_size,
        "num_workers": 0,
        "sampler": sampler if training else {**sampler, "round_up": False},
        "worker_init_fn": {"type": "uniadapter.seed_worker"},
        "dataset": {
            "type": "RetrievalJsonDataset",
            "data_root": str(root),
            "data_prefix": {"media": "clips/"},
            "ann_file": f"{split}.jsonl",
            "extensions": [""],
            "test_mode": not training,
            "pipeline": [*pipeline, {"type": "CleanCaption"}, {"type": "PackInputs"}],
        },
    }


def tiny_run_cfg(
    root: Path, epochs: int = 2, batch_size: int = 8, random: bool = True, **model: Any
) -> dict[str, Any]:
    """Top-level keys of a whole run on :func:`write_world`'s data.

    ``random`` switches random frames, crops and flips; ``model`` overrides keys of the model.
    """
    cfg: dict[str, Any] = {
        "model": tiny_retrieval_cfg(root / "vocab.txt", **model),
        "train_dataloader": _dataloader(root, "train", batch_size, random),
        "val_dataloader": _dataloader(root, "test", 3, random=False),
        "val_evaluator": {"type": "RetrievalMetric"},
        "val_cfg": {"type": "RetrievalValLoop", "k_test": 4},
        "test_cfg": {"type": "RetrievalTestLoop", "k_test": 4},
        "train_cfg": {"max_epochs": epochs},
        "optim_wrapper": {"optimizer": {"lr": 1e-3}},
        "default_hooks": {"logger": {"interval": 1}},
    }
    cfg["test_dataloader"], cfg["test_evaluator"] = cfg["val_dataloader"], cfg["val_evaluator"]
    return cfg


def write_run_cfg(path: Path, cfg: dict[str, Any]) -> Path:
    """Write a config file that inherits the repository's runtime and schedule."""
    bases = [
        str(ROOT / "configs/_base_/default_runtime.py"),
        str(ROOT / "configs/_base_/schedules/adamw_cosine.py"),
    ]
    lines = [f"_base_ = {pformat(bases)}"]
    lines += [f"{key} = {pformat(value, sort_dicts=False)}" for key, value in cfg.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository with one thread and no network, and capture its output."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            **env,
        },
        capture_output=True,
        text=True,
        timeout=900,
    )


def run_tool(script: str, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``tools/<script>`` with this interpreter."""
    return run(sys.executable, f"tools/{script}", *arguments, **env)


def run_script(script: str, *arguments: str | Path) -> int:
    """Run ``tools/<script>`` as a command in this process; its exit status.

    Where the process itself is not what is tested, its imports are saved.
    """
    path = ROOT / "tools" / script
    argv, folders = sys.argv, sys.path[:]
    sys.argv = [str(path), *map(str, arguments)]
    sys.path.insert(0, str(path.parent))
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        if not isinstance(end.code, str):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    finally:
        sys.argv, sys.path[:] = argv, folders
    return 0


def load_tool(script: str) -> ModuleType:
    """Import ``tools/<script>``, to call its functions without a process of their own."""
    name = f"tool_{Path(script).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / script)
    if spec is None or spec.loader is None:
        raise ImportError(script)
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickling look a class's module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def assert_equal(a: Any, b: Any, where: str = "") -> None:
    """Containers of one type with one order of keys, tensors of one dtype, equal to the bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{index}]")
    else:
        assert a == b, where
