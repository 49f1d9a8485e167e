"""VQA, VideoQA and captioning from annotation files to metrics, on one and on two processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from tests.helpers import (
    COLORS,
    IMAGE_SIZE,
    SHAPES,
    WORDS,
    load_tool,
    write_clip,
    write_run_cfg,
)
from tests.spawn import run_tool_apart
from uniadapter.apis.model import build_model
from uniadapter.apis.testing import Kept, run_test
from uniadapter.engine.runner.build import build_runner
from uniadapter.structures import MultimodalSample

train, evaluate = load_tool("train.py"), load_tool("test.py")
MORE_WORDS = ["what", "color", "shape", "is", "it", "picture", "of", "?"]
CLIPS = [f"{color}_{shape}" for color in list(COLORS)[:3] for shape in SHAPES[:2]]
ANSWERS = [*list(COLORS)[:3], *SHAPES[:2]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


def write_world(root: Path) -> Path:
    """Six clips of four frames with questions and captions in three formats."""
    (root / "vocab.txt").write_text("\n".join([*WORDS, *MORE_WORDS]) + "\n")
    questions, videos, captions = [], [], []
    for number, name in enumerate(CLIPS):
        color, shape = name.split("_")
        write_clip(root / "clips" / name, color, shape, frames=4)
        (root / "clips" / f"video{number}").symlink_to(root / "clips" / name)
        picture = f"{name}/001.png"
        pairs = (("What color is it?", color), ("What shape is it?", shape))
        for kind, (question, answer) in enumerate(pairs):
            # Annotators differ: one of ten says something else.
            answers = [answer] * 9 + ["white"]
            questions.append({"media": picture, "question": question, "answers": answers})
            videos.append(
                {
                    "id": 2 * number + kind,
                    "question": question,
                    "answer": answer,
                    "video_id": number,
                    "category_id": 0,
                }
            )
        entry = {"image": picture, "caption": [f"A {color} {shape}.", f"It is a {shape}."]}
        captions.append({**entry, "image_id": f"coco_{number}"})
    (root / "questions.jsonl").write_text("\n".join(json.dumps(q) for q in questions))
    (root / "train_qa.json").write_text(json.dumps(videos))
    (root / "captions.json").write_text(json.dumps(captions))
    (root / "answers.json").write_text(json.dumps(ANSWERS))
    return root


def tower(kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "vocab_size": len(WORDS) + len(MORE_WORDS) + 2,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 64,
        "encoder_width": 32,
        "max_positions": 40,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }


def model_cfg(root: Path, kind: str, **options: Any) -> dict[str, Any]:
    arch = {"embed_dims": 32, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64}
    visual = {"type": "BlipViT", "arch": arch, "img_size": IMAGE_SIZE, "patch_size": 16}
    tokenizer = {"vocab_file": str(root / "vocab.txt")}
    cfg = {
        "type": kind,
        "visual": visual,
        "decoder": tower("BertDecoder"),
        "adapter": {"type": "UniAdapter", "bottleneck": 8},
        "train_backbone": True,
        "data_preprocessor": {"type": "MultimodalDataPreprocessor", "tokenizer": tokenizer},
        **options,
    }
    if kind == "VQAModel":
        cfg["text"] = tower("BertModel")
    return cfg


def loader(root: Path, dataset: dict, frames: int, text: str, training: bool) -> dict[str, Any]:
    pipeline: list[dict[str, Any]] = [
        {"type": "LoadVideo", "num_frames": frames, "sampling": "random" if training else "center"},
        {"type": "VideoResize", "size": IMAGE_SIZE},
        {"type": text},
        {"type": "PackInputs"},
    ]
    if training:
        pipeline.insert(2, {"type": "VideoRandAugment", "ops": ["Identity", "TranslateX"]})
    sampler = {"type": "DefaultSampler", "shuffle": training}
    return {
        "batch_size": 6 if training else 2,
        "num_workers": 0,
        "sampler": sampler if training else {**sampler, "round_up": False},
        "worker_init_fn": {"type": "uniadapter.seed_worker"},
        "dataset": {
            "data_root": str(root),
            "data_prefix": {"media": "clips/"},
            "test_mode": not training,
            "pipeline": pipeline,
            **dataset,
        },
    }


def run_cfg(
    root: Path, model: dict, dataset: dict, metric: dict, frames: int, text: str
) -> dict[str, Any]:
    cfg = {
        "model": model,
        "train_dataloader": loader(root, dataset, frames, text, training=True),
        "val_dataloader": loader(root, dataset, frames, text, training=False),
        "val_evaluator": metric,
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "train_cfg": {"max_epochs": 8, "val_interval": 8},
        "optim_wrapper": {"optimizer": {"lr": 5e-3}},
        "default_hooks": {"logger": {"interval": 1}},
    }
    cfg["test_dataloader"], cfg["test_evaluator"] = cfg["val_dataloader"], metric
    return cfg


def vqa_cfg(root: Path, out: Path, **data: Any) -> dict[str, Any]:
    dataset = {"type": "VQAJsonDataset", "ann_file": "questions.jsonl"}
    model = model_cfg(root, "VQAModel", answer_list=str(root / "answers.json"), k_test=4)
    metric = {"type": "VQAMetric", "submission_file": str(out / "results.json")}
    cfg = run_cfg(root, model, dataset, metric, 1, "CleanQuestion")
    cfg["test_dataloader"]["dataset"].update(data)
    return cfg


def caption_cfg(root: Path, out: Path) -> dict[str, Any]:
    dataset = {"type": "COCOCaption", "ann_file": "captions.json"}
    model = model_cfg(root, "CaptionModel")
    model["generation"] = {"num_beams": 2, "max_length": 10, "min_length": 3}
    metric = {"type": "CaptionMetric", "results_file": str(out / "captions.json")}
    return run_cfg(root, model, dataset, metric, 1, "CleanCaption")


def logged(folder: Path) -> list[dict[str, float]]:
    """What a run has logged, line by line."""
    lines = next(folder.glob("*/vis_data/scalars.json")).read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(folder: Path) -> list[float]:
    """The losses that a run has logged."""
    return [line["loss"] for line in logged(folder) if "loss" in line]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    """Folder of a VQA run by tools/train.py."""
    out = tmp_path_factory.mktemp("vqa")
    path = write_run_cfg(out / "cfg.py", vqa_cfg(world, out))
    train.main([str(path), "--work-dir", str(out)])
    return out


def test_vqa_learns_and_keeps_its_answers(trained: Path) -> None:
    found = losses(trained)
    assert sum(found[-3:]) < 0.7 * sum(found[:3])
    assert [line for line in logged(trained) if "accuracy" in line]
    meta = torch.load(trained / "epoch_8.pth", weights_only=True)["meta"]
    assert meta["adapter_extras"] == {"answer_list": ANSWERS}
    config = json.loads((trained / "epoch_8_adapter" / "adapter_config.json").read_text())
    assert config["extras"] == {"answer_list": ANSWERS}
    rows = json.loads((trained / "results.json").read_text())
    assert sorted(row["question_id"] for row in rows) == list(range(1, 13))
    assert {row["answer"] for row in rows} <= set(ANSWERS)


def run_by(script: str, processes: int, *arguments: str | Path) -> None:
    """Run a tool by one process, which is this one, or by several."""
    if processes == 1:
        tool = {"train.py": train, "test.py": evaluate}[script]
        tool.main([str(argument) for argument in arguments])
    else:
        run_tool_apart(script, *arguments, log=Path(arguments[-1]) / "log.txt", world=processes)


def test_two_processes_answer_like_one(trained: Path, world: Path, tmp_path: Path) -> None:
    """Five questions for two processes, one about a picture that cannot be read."""
    lines = (world / "questions.jsonl").read_text().splitlines()[:5]
    lines[3] = json.dumps({**json.loads(lines[3]), "media": "gone.png"})
    (tmp_path / "five.jsonl").write_text("\n".join(lines))
    rows = {}
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        cfg = vqa_cfg(world, out, ann_file=str(tmp_path / "five.jsonl"), on_error="skip")
        # The answers come with the checkpoint where the config names no list.
        del cfg["model"]["answer_list"]
        path = write_run_cfg(out / "cfg.py", cfg)
        arguments = (path, trained / "epoch_8.pth", "--work-dir", out)
        run_by("test.py", processes, *arguments)
        log = "".join(path.read_text() for path in out.glob("*/*.log"))
        assert "1 answers are empty" in log
        rows[processes] = json.loads((out / "results.json").read_text())
    assert rows[1] == rows[2]
    assert [row["question_id"] for row in rows[1]] == [1, 2, 3, 4, 5]
    assert [row["answer"] == "" for row in rows[1]] == [False, False, False, True, False]


def test_two_processes_train_like_one(world: Path, tmp_path: Path) -> None:
    """The adapter alone, in the released variant, so that every kind of its tensors takes part."""
    states = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        cfg = vqa_cfg(world, out)
        adapter = {"type": "UniAdapter", "bottleneck": 8, "variant": "released", "kv_rank": 4}
        cfg["model"].update(train_backbone=False, adapter=adapter)
        cfg["train_dataloader"]["batch_size"] = 6 // processes
        cfg["train_dataloader"]["dataset"]["pipeline"].pop(2)
        cfg["train_cfg"] = {"max_epochs": 2, "val_interval": 2}
        # With epsilon at the size of rounding, AdamW would turn noise into whole steps.
        cfg["optim_wrapper"]["optimizer"]["eps"] = 1e-4
        path = write_run_cfg(out / "cfg.py", cfg)
        run_by("train.py", processes, path, "--work-dir", out)
        states.append(load_file(out / "epoch_2_adapter" / "adapter_model.safetensors"))
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=2e-5, msg=name)
    assert states[0]["adapter.layers.0.up.cross.weight"].abs().max() > 1e-3


def in_process(cfg: dict[str, Any], folder: Path) -> dict[str, float]:
    """Train and test by the runner; return the metrics of the test."""
    config = Config.fromfile(str(write_run_cfg(folder / "cfg.py", cfg)))
    config.work_dir, config.launcher = str(folder), "none"
    runner = build_runner(config)
    runner.train()
    return run_test(runner, Kept(str(folder / "pred.json"), "pred", str(folder / "shown"), 2))


def predictions(folder: Path) -> list[dict[str, Any]]:
    """Rows of the test, two of which were drawn."""
    page = (folder / "shown/predictions.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == page.count("<img") == 2
    assert (folder / "shown/predictions.png").is_file()
    rows: list[dict[str, Any]] = json.loads((folder / "pred.json").read_text(encoding="utf-8"))
    assert all(Path(row["media_path"]).exists() for row in rows)
    return rows


@pytest.mark.parametrize("inference", ["rank", "generate"])
def test_video_questions(world: Path, tmp_path: Path, inference: str) -> None:
    dataset = {"type": "MSRVTTQA", "ann_file": "train_qa.json", "extensions": [""]}
    model = model_cfg(world, "VQAModel", inference=inference, answer_list=ANSWERS)
    metric = {"type": "QAExactMatch"}
    metrics = in_process(run_cfg(world, model, dataset, metric, 2, "CleanQuestion"), tmp_path)
    assert 0 <= metrics["accuracy"] <= 100
    assert "question_type/what" in metrics
    rows = predictions(tmp_path)
    right = [row["pred_answer"] == row["gt_answers"][0] for row in rows]
    assert 100 * sum(right) / len(right) == pytest.approx(metrics["accuracy"])
    assert len({row["question_id"] for row in rows}) == len(rows)
    found = losses(tmp_path)
    assert sum(found[-3:]) < 0.7 * sum(found[:3])


def test_captions(world: Path, tmp_path: Path) -> None:
    metrics = in_process(caption_cfg(world, tmp_path), tmp_path)
    assert metrics
    rows = json.loads((tmp_path / "captions.json").read_text())
    assert [row["image_id"] for row in rows] == list(range(6))
    kept = [(row["image_id"], row["pred_caption"]) for row in predictions(tmp_path)]
    assert kept == [(row["image_id"], row["caption"]) for row in rows]
    found = losses(tmp_path)
    assert sum(found[-3:]) < 0.8 * sum(found[:3])


@pytest.mark.parametrize("kind", ["VQAModel", "CaptionModel"])
def test_media_that_could_not_be_read_get_no_prediction(world: Path, kind: str) -> None:
    options = {"answer_list": ANSWERS} if kind == "VQAModel" else {}
    model = build_model(model_cfg(world, kind, **options)).eval()
    name = {"VQAModel": "pred_answer", "CaptionModel": "pred_caption"}[kind]

    def predict(*skipped: bool) -> list[bool]:
        facts = [dict(media_id=i, text="what is it", skipped=s) for i, s in enumerate(skipped)]
        frames = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
        batch = {
            "inputs": [None if s else frames for s in skipped],
            "data_samples": [MultimodalSample(metainfo=fact) for fact in facts],
        }
        return [name in sample for sample in model.val_step(batch)]

    assert predict(True, False, True) == [False, True, False]
    assert predict(True, True) == [False, False]


def test_an_answer_file_is_read_when_it_is_needed(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    model = build_model(model_cfg(world, "VQAModel", answer_list=str(path)))
    with pytest.raises(FileNotFoundError, match=r"answers\.json.*build_answer_list"):
        model.init_weights()
    path.write_text(json.dumps(["red"]))
    model.init_weights()
    assert model.answer_list == ["red"]
    # The config's list counts; a saved one stands in for a file that is not there.
    model.set_adapter_extras({"answer_list": ["blue"]})
    assert model.answer_list == ["red"]
    for given, expected in ((str(path), ["red"]), (str(tmp_path / "gone.json"), ["blue"])):
        other = build_model(model_cfg(world, "VQAModel", answer_list=given))
        other.set_adapter_extras({"answer_list": ["blue"]})
        assert other.answer_list == expected
