"""Training from taps on disk is training with the towers, without running them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from tests.dual_helpers import FAMILIES, SIDE, SIZES, clip_tokenizer
from tests.helpers import (
    COLORS,
    draws,
    load_tool,
    tiny_retrieval_cfg,
    write_clip,
    write_vocab,
)
from uniadapter.datasets.tap_store import TapStore
from uniadapter.engine.hooks import tap_store
from uniadapter.engine.hooks.tap_store import TapStoreHook, facts_of, keep_all, layers_of
from uniadapter.models.build import build_model
from uniadapter.registry import DATASETS

pytest.importorskip("transformers")
CLIP = FAMILIES["clip"]
train = load_tool("train.py")


def write_world(root: Path, seed: int = 0, media: int = 5) -> Path:
    """Clips of 1 to 4 frames with 1 to 3 captions of drawn lengths."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    lines = []
    for number in range(media):
        color = list(COLORS)[number % len(COLORS)]
        write_clip(root / "clips" / f"m{number}", color, "square", drawn(1, 4))
        for _ in range(drawn(1, 3)):
            text = "".join("abcdefgh "[drawn(0, 8)] for _ in range(drawn(1, 14))).strip() or "a"
            lines.append(json.dumps({"media": f"m{number}", "text": text}))
    (root / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    clip_tokenizer(root)
    return root


def model_cfg(root: Path, **overrides: Any) -> dict[str, Any]:
    tokenizer = {"type": "ClipTokenizer", "file": str(root / "clip_tokenizer.json")}
    return {
        "type": "RetrievalModel",
        "data_preprocessor": {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": tokenizer,
            "max_text_len": 10,
            "pad_frames": 3,
        },
        "visual": {"type": "ClipVisual", "arch": SIZES, "img_size": SIDE, "patch_size": 16},
        "text": {
            "type": "ClipText",
            "vocab_size": CLIP.words,
            "max_positions": 12,
            **CLIP.text_sizes,
        },
        "pooling": {"type": "FeaturePooling"},
        "contrast": {"type": "BatchContrastHead", "embed_dim": 8, "train_temperature": False},
        "matching": None,
        "adapter": {"type": "UniPT", "start": "published"},
        **overrides,
    }


def pipeline(**changes: Any) -> list[dict[str, Any]]:
    return [
        {"type": "LoadSeconds", "max_frames": 3, "rate": 1, **changes},
        {"type": "VideoCenterCrop", "size": SIDE},
        {"type": "CleanCaption"},
        {"type": "PackInputs"},
    ]


def dataset_cfg(root: Path, steps: list | None = None) -> dict[str, Any]:
    return {
        "type": "RetrievalJsonDataset",
        "data_root": str(root),
        "data_prefix": {"media": "clips/"},
        "ann_file": "train.jsonl",
        "extensions": [""],
        "pipeline": steps or pipeline(),
    }


def parts(root: Path, seed: int = 0, steps: list | None = None, **overrides: Any) -> tuple:
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("uniadapter"):
        dataset = DATASETS.build(dataset_cfg(root, steps))
        return build_model(model_cfg(root, **overrides)).train(), dataset


def keep(folder: Path, model: Any, dataset: Any, dtype: str = "float32") -> TapStore:
    tap_store._check(model, dataset)
    store = TapStore(folder, facts_of(model, dataset, dtype), layers_of(model))
    keep_all(store, model, dataset, MMLogger.get_current_instance())
    return store


def losses_of(model: Any, dataset: Any, order: list[int], batch: int) -> list[float]:
    """Losses of an epoch of plain descent, the last batch as large as it comes."""
    found = []
    for start in range(0, len(order), batch):
        items = [dataset[index] for index in order[start : start + batch]]
        data = model.data_preprocessor(pseudo_collate(items), True)
        loss = model(**data, mode="loss")["loss_itc"]
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.05 * parameter.grad
        model.zero_grad()
        found.append(float(loss.detach()))
    return found


def no_tower(model: Any) -> None:
    """Let every run of a tower fail."""

    def fail(*_: Any) -> None:
        raise AssertionError("a tower ran")

    for tower in (model.visual, model.text):
        for layer in tower.layers:
            layer.register_forward_pre_hook(fail)


@settings(max_examples=draws(2), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(2, 4),
    taps=st.sampled_from([None, [0, 2], [1]]),
    fast=st.booleans(),
)
def test_an_epoch_is_that_of_the_towers(seed, batch, taps, fast, tmp_path_factory):
    root = write_world(tmp_path_factory.mktemp("world"), seed)
    adapter = {"type": "UniPT", "start": "published", "taps": taps}
    options = {"adapter": adapter, "fast": fast}
    model, dataset = parts(root, seed, **options)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    wanted = losses_of(model, dataset, order, batch)
    other, dataset = parts(root, seed, **options)
    dataset.taps = keep(root / "taps", other, dataset)
    no_tower(other)
    found = losses_of(other, dataset, order, batch)
    assert found == pytest.approx(wanted, abs=1e-5, rel=1e-5)
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near(dtype, tmp_path):
    root = write_world(tmp_path)
    model, dataset = parts(root)
    wanted = losses_of(model, dataset, list(range(len(dataset))), 3)
    other, dataset = parts(root)
    dataset.taps = keep(root / "taps", other, dataset, dtype)
    file = next((root / "taps" / "media").rglob("*.safetensors"))
    assert file.stat().st_size < 4 * 3 * 5 * 16 * 4 * 3
    found = losses_of(other, dataset, list(range(len(dataset))), 3)
    assert found == pytest.approx(wanted, abs=0.05)


def test_blip_keeps_what_its_fusion_reads(tmp_path):
    """A model that matches reads all visual tokens, and has momentum averages."""
    root = write_world(tmp_path)
    cfg = tiny_retrieval_cfg(write_vocab(root / "vocab.txt"), adapter={"type": "UniPT"}, pfa=None)
    steps = pipeline(max_frames=1)
    results = []
    for kept in (False, True):
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("uniadapter"):
            dataset, model = DATASETS.build(dataset_cfg(root, steps)), build_model(cfg).train()
        if kept:
            dataset.taps = keep(root / "taps", model, dataset)
            for layer in model.visual.layers:
                layer.register_forward_pre_hook(lambda *_: pytest.fail("the visual tower ran"))
        items = [dataset[index] for index in (0, 2, 1)]
        data = model.data_preprocessor(pseudo_collate(items), True)
        losses = model(**data, mode="loss")
        sum(losses.values()).backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append({**losses, **gradients})
    plain, kept = results
    assert set(plain) == set(kept)
    for name, value in plain.items():
        torch.testing.assert_close(kept[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_a_folder_belongs_to_one_model_pipeline_and_split(tmp_path):
    root = write_world(tmp_path)
    model, dataset = parts(root)
    keep(root / "taps", model, dataset)
    changed = {
        "backbone weights": parts(root, seed=1),
        "transforms": parts(root, steps=pipeline(max_frames=2)),
        "layers": parts(root, adapter={"type": "UniPT", "taps": [1]}),
    }
    cfg = model_cfg(root)
    changed["towers"] = parts(root, text={**cfg["text"], "activation": "gelu"})
    cfg["data_preprocessor"]["max_text_len"] = 8
    changed["max_text_len"] = parts(root, data_preprocessor=cfg["data_preprocessor"])
    for name, (other, data) in changed.items():
        with pytest.raises(ValueError, match=rf"taps\.json: .*another {name}.*Remove the folder"):
            keep(root / "taps", other, data)
    with pytest.raises(ValueError, match="another dtype"):
        keep(root / "taps", model, dataset, "float16")
    lines = (root / "train.jsonl").read_text().splitlines()
    (root / "train.jsonl").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(ValueError, match="another data"):
        keep(root / "taps", *parts(root))
    (root / "train.jsonl").write_text("\n".join(lines) + "\n")
    keep(root / "taps", *parts(root))


def test_what_towers_compute_beside_their_weights(tmp_path):
    """The number of heads and the activation count; how it is computed, and dropout, do not."""
    root = write_world(tmp_path)
    visual = model_cfg(root)["visual"]
    heads = {**visual["arch"], "num_heads": 4}
    plain, fast, again, other = (
        facts_of(*parts(root, **options), "float32")["towers"]
        for options in (
            {},
            {"fast": False},
            {"visual": {**visual, "grad_checkpointing": True}},
            {"visual": {**visual, "arch": heads}},
        )
    )
    assert plain == fast == again != other


def test_a_number_beyond_half_precision(tmp_path):
    root = write_world(tmp_path)
    model, dataset = parts(root)
    with torch.no_grad():
        model.visual.model.embeddings.class_embedding.fill_(1e6)
        model.visual.model.pre_layrnorm.weight.fill_(1e6)
    with pytest.raises(ValueError, match="do not fit TapStoreHook.dtype='float16'"):
        keep(root / "taps", model, dataset, "float16")


def test_words_that_training_masks(tmp_path):
    vocab = str(write_vocab(tmp_path / "vocab.txt"))
    options = {"vocab_file": vocab}
    cfg = tiny_retrieval_cfg(Path(vocab), adapter={"type": "UniPT"}, pfa=None)
    cfg["data_preprocessor"] = {
        "type": "MultimodalDataPreprocessor",
        "tokenizer": options,
        "word_masking": {},
    }
    with DefaultScope.overwrite_default_scope("uniadapter"):
        model = build_model(cfg)
    with pytest.raises(ValueError, match="word_masking texts are drawn anew"):
        tap_store._check(model, None)


class Silent:
    """A transform without words of its own."""

    def __init__(self, size: int) -> None:
        self.size, self.other = size, object()

    def __call__(self, results: dict) -> dict:
        return results


def test_transforms_without_words(tmp_path):
    root = write_world(tmp_path)
    for size in (3, 3):
        model, dataset = parts(root)
        dataset.pipeline.transforms.insert(2, Silent(size))
        keep(root / "taps", model, dataset)
    dataset.pipeline.transforms[2] = Silent(4)
    with pytest.raises(ValueError, match="another transforms"):
        keep(root / "taps", model, dataset)


def test_another_vocabulary_is_found_in_the_batch(tmp_path):
    root = write_world(tmp_path)
    model, dataset = parts(root)
    dataset.taps = keep(root / "taps", model, dataset)
    content = json.loads((root / "clip_tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    words["a</w>"], words["b</w>"], words["c</w>"] = words["b</w>"], words["c</w>"], words["a</w>"]
    for one, two in (("d", "e"), ("f", "g"), ("d</w>", "e</w>"), ("f</w>", "g</w>")):
        words[one], words[two] = words[two], words[one]
    (root / "clip_tokenizer.json").write_text(json.dumps(content))
    other, _ = parts(root)
    items = [dataset[index] for index in range(len(dataset))]
    with pytest.raises(ValueError, match="kept with other ids"):
        other.data_preprocessor(pseudo_collate(items), True)


@pytest.mark.parametrize(
    ("options", "steps", "match"),
    [
        ({"adapter": None}, None, "needs.*UniPT"),
        ({"adapter": {"type": "UniPT", "tower_dropout": True}}, None, "tower_dropout"),
        ({}, [*pipeline()[:2], {"type": "VideoFlip", "prob": 0.5}, *pipeline()[2:]], "VideoFlip"),
    ],
)
def test_what_cannot_be_kept(options, steps, match, tmp_path):
    root = write_world(tmp_path)
    with pytest.raises(ValueError, match=match):
        keep(root / "taps", *parts(root, steps=steps, **options))
    assert not (root / "taps").exists()


def test_bad_options_and_files(tmp_path, monkeypatch):
    for options in ({"dir": ""}, {"dir": "x", "dtype": "int8"}):
        with pytest.raises(ValueError, match="TapStoreHook"):
            TapStoreHook(**options)
    root = write_world(tmp_path)
    with pytest.raises(ValueError, match="an empty folder"):
        keep(root / "clips", *parts(root))
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(root)._replace(free=10)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(ValueError, match="GiB left"):
            keep(root / "taps", *parts(root))
    model, dataset = parts(root)
    dataset.taps = keep(root / "taps", model, dataset)
    file = next((root / "taps" / "texts").rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match="remove it, and the next run"):
        [dataset[index] for index in range(len(dataset))]
    file.unlink()
    dataset.taps = keep(root / "taps", model, dataset)
    [dataset[index] for index in range(len(dataset))]
    (root / "taps" / "taps.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        keep(root / "taps", model, dataset)


def test_a_medium_that_cannot_be_read_is_replaced(tmp_path):
    root = write_world(tmp_path)
    shutil.rmtree(root / "clips" / "m1")
    model, dataset = parts(root)
    dataset.taps = keep(root / "taps", model, dataset)
    items = [dataset[index] for index in range(len(dataset))]
    replaced = [item["data_samples"].replaced for item in items if item["data_samples"].replaced]
    assert replaced
    assert all(path.endswith("m1") for paths in replaced for path in paths)
