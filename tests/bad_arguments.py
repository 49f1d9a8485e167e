"""Right command lines of every command and script, and words that are wrong in them."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers import tiny_run_cfg, write_run_cfg, write_world
from tests.malformed import DEEP
from uniadapter.datasets.feature_stores.writing import npz_bytes

CONFIG, WEIGHTS = "{w}/run.py", "{w}/weights.pth"
#: What stands behind each command's name where all is right. ``{w}`` is a folder that
#: :func:`write_right` fills, ``{out}`` a folder that is not there.
RIGHT: dict[str, list[str]] = {
    "config": ["tiny/msrvtt_r32.py", "--out", "{out}"],
    "download": ["no_such_model"],
    "encode": ["{w}/clips", "--out", "{out}", "--model", CONFIG, "--workers", "0"],
    "export": [CONFIG, "--out", "{out}"],
    "index": ["{w}/clips", "--model", CONFIG, "--index", "{out}", "--workers", "0"],
    "list": ["tiny*"],
    "search": ["a dog", "--index", "{w}/clips"],
    "serve": ["--index", "{w}/clips", "--port", "0"],
    "analysis_tools/analyze_logs.py": ["cal_train_time", "{w}/log.json"],
    "analysis_tools/benchmark_adapters.py": [CONFIG],
    "analysis_tools/benchmark_decode.py": ["--videos", "{w}/videos"],
    "analysis_tools/benchmark_export.py": [CONFIG],
    "analysis_tools/benchmark_gallery.py": ["--dir", "{w}"],
    "analysis_tools/benchmark_page.py": ["http://127.0.0.1:9/", "--timeout", "1"],
    "analysis_tools/benchmark_prefix_cache.py": [CONFIG],
    "analysis_tools/benchmark_rerank.py": ["--rows", "image", "--image-config", CONFIG],
    "analysis_tools/benchmark_search.py": ["--vectors", "200", "--queries", "5"],
    "analysis_tools/benchmark_train.py": [CONFIG],
    "analysis_tools/compare_checkouts.py": ["{w}"],
    "analysis_tools/compare_tokenizers.py": ["{w}/lines.txt"],
    "analysis_tools/compare_transformers.py": ["--rows", "image", "--image-config", CONFIG],
    "analysis_tools/count_params.py": [CONFIG],
    "analysis_tools/get_flops.py": [CONFIG],
    "analysis_tools/probe_easy_vqa.py": [CONFIG],
    "analysis_tools/real_retrieval.py": ["--data", "{w}", "--results", "{out}", "--page", "{out}"],
    "analysis_tools/recall_by_category.py": ["{w}/ranking.json", "{w}/videos.json"],
    "analysis_tools/run_tiny.py": ["--world", "{w}", "--work-dir", "{out}", "--out", "{out}/a.md"],
    "analysis_tools/sayable_answers.py": [CONFIG],
    "analysis_tools/score_captions.py": ["{w}/truth.json", "{w}/captions.json"],
    "dataset_converters/build_answer_list.py": ["{w}/questions.json", "--out", "{out}/a.json"],
    "dataset_converters/convert_features.py": ["npz", "{w}/features", "npz", "{out}"],
    "dataset_converters/extract_clip_frames.py": [
        *("{w}/videos", "{out}", "--weights", "random", "--workers", "0", "--device", "cpu"),
    ],
    "dataset_converters/extract_clip_grids.py": [
        *("{w}/pictures", "{out}", "--weights", "random", "--workers", "0", "--device", "cpu"),
    ],
    "dataset_converters/extract_frames.py": ["{w}/videos", "{out}"],
    "dataset_converters/extract_toy_features.py": ["--data", "{w}"],
    "dataset_converters/make_toy_tokenizers.py": ["--out", "{out}"],
    "dataset_converters/make_toy_world.py": ["--out", "{out}"],
    "dataset_converters/msvd_captions.py": ["{w}/captions.pkl"],
    "dataset_converters/prepare_real_pictures.py": ["--stamps", "{w}/stamps", "--out", "{out}"],
    "misc/browse_dataset.py": [CONFIG, "--output-dir", "{out}", "--number", "1"],
    "misc/generate_zoo.py": ["--root", "{w}"],
    "misc/print_config.py": [CONFIG, "--save-path", "{out}/a.py"],
    "misc/verify_dataset.py": [CONFIG, "--workers", "1"],
    "model_converters/convert_checkpoint.py": [
        *(WEIGHTS, "{out}/a.safetensors", "--from", "blip", "--config", CONFIG),
    ],
    "model_converters/convert_sentencepiece.py": ["{w}/words.spm", "{out}/a.json"],
    "model_converters/join_minilm_lite0.py": [
        *("--text", "{w}", "--visual", WEIGHTS, "--out", "{out}/a.safetensors"),
    ],
    "model_converters/join_vse_towers.py": [
        *("--text", WEIGHTS, "--visual", WEIGHTS, "--out", "{out}/a.safetensors"),
    ],
    "model_converters/publish_model.py": [WEIGHTS, "{out}"],
    "quickstart.py": ["--out", "{out}"],
    "study/limits.py": [],
    "study/run.py": ["list", "--world", "{w}", "--results", "{out}"],
    "test.py": [CONFIG, WEIGHTS, "--work-dir", "{out}"],
    "train.py": [CONFIG, "--work-dir", "{out}"],
    "visualization/draw_answers.py": [CONFIG, WEIGHTS, "{out}/a.png"],
    "visualization/draw_boxes.py": [CONFIG, WEIGHTS, "{out}/a.png"],
    "visualization/draw_curves.py": ["{w}/log.json", "--out", "{out}/a.png"],
    "visualization/draw_features.py": [CONFIG, WEIGHTS, "{out}/a.png"],
    "visualization/draw_frame_weights.py": [CONFIG, WEIGHTS, "{out}/a.png"],
    "visualization/draw_rankings.py": ["{w}/ranking.json", "{out}/a.png"],
}

#: Scripts whose relative names are below their ``ROOT``.
BELOW_ROOT = (
    *("analysis_tools/real_retrieval.py", "analysis_tools/run_tiny.py", "quickstart.py"),
    "study/run.py",
)
#: Functions of scripts in which long work begins.
LONG = {
    "analysis_tools/run_tiny.py": "draw_world",
    "analysis_tools/benchmark_page.py": "measure",
    "dataset_converters/make_toy_world.py": "write_world",
    "analysis_tools/benchmark_rerank.py": "measure_rows",
    "misc/verify_dataset.py": "verify_split",
    "quickstart.py": "evaluate_all",
    "study/limits.py": "probe_features",
}

CFG_OPTIONS = [
    *("a", "=1", ".=1", "a.b.c=1", "model=1", "model=None", "model.type=No", "model.type=None"),
    *("model.=3", "model.adapter=[", "model.adapter.bottleneck=x", "model.adapter.bottleneck=-1"),
    *("model.adapter.bottleneck=nan", "model.visual.img_size=1e9", "model.visual=[]"),
    *("default_scope=None", "default_scope=7", "_base_=x", "train_dataloader=7", "é=\udce9"),
    *("test_dataloader=None", "train_dataloader.dataset=None", "train_dataloader.batch_size=x"),
    *("model.a=dict(b=1)", "model.text.vocab_size=0", f"model.x={'9' * 5000}", "work_dir=7"),
    *("train_dataloader.dataset.ann_file=none", "train_dataloader.dataset.type=7"),
    *("test_dataloader.dataset.pipeline=7", "model.data_preprocessor=7", "env_cfg=7", "resume=x"),
    *("train_cfg=7", "optim_wrapper=7", "default_hooks=7", "param_scheduler=7", "launcher=7"),
]
#: Ends of names that files are told apart by.
ENDS = (
    *("", ".py", ".json", ".jsonl", ".yml", ".txt", ".csv", ".npz", ".h5", ".parquet", ".tar"),
    *(".pth", ".safetensors", ".pkl", ".spm", ".mp4", ".png", ".zip", ".md"),
)
CONTENTS = {
    "empty": b"",
    "noise": bytes(range(256)) * 3,
    "text": b"one two\n\xc3\xa9 three\n",
    "number": b"7",
    "list": b"[1, null, {}]",
    "object": b'{"images": [7], "a": {"a": []}}',
    "deep": DEEP.encode(),
    "zeros": bytes(600),
    "utf16": "a = 1\n".encode("utf-16"),
}
NAMES = [
    *("", " ", ".", "..", "-", "nan", "None", "[", "{}", '{"a": 1}', "é" * 300, "x" * 1500),
    *("\udce9", "~", "/", "cpu:7", "cuda:99", "meta", "no such name", "/dev/null/x"),
    *("a\nb", "'", "*", "%s%n", "C:\\a", "0/0", "5-", "7-3", "a=b", "tiny_uniadapter_r32"),
]


def write_right(folder: Path) -> Path:
    """Fill a folder with what :data:`RIGHT` names, and with wrong files of every end."""
    write_world(folder)
    write_run_cfg(folder / "run.py", tiny_run_cfg(folder))
    files: dict[str, Any] = {
        "captions.json": [{"image_id": 1, "caption": "a dog"}],
        "log.json": {"lr": 0.1, "loss": 1.5, "time": 0.2, "epoch": 1, "iter": 1, "step": 1},
        "questions.json": [{"question": "is it?", "answer": ["yes", "no", "yes"]}],
        "ranking.json": {
            **{"texts": ["a"], "media": [{"id": "a", "path": "clips/red_dot"}], "positives": [0]},
            **{"top": [[[0, 1.0]]], "ranks": [1]},
        },
        "truth.json": {
            "images": [{"id": 1}],
            "annotations": [{"image_id": 1, "caption": "a dog runs", "id": 1}],
        },
        "videos.json": {"videos": [{"video_id": "a", "category": 1}]},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content) + "\n")
    (folder / "captions.pkl").write_bytes(pickle.dumps({"a": [["a", "dog"]]}, protocol=2))
    (folder / "weights.pth").write_bytes(b"no weights")
    (folder / "lines.txt").write_text("a dog runs\n")
    for name in ("features", "videos", "pictures", "stamps"):
        (folder / name).mkdir()
    (folder / "features" / "a.npz").write_bytes(npz_bytes(np.ones((2, 3), np.float16)))
    (folder / "videos" / "a.mp4").write_bytes(b"no video")
    Image.new("RGB", (40, 40)).save(folder / "pictures" / "a.png")
    wrong = folder / "wrong"
    wrong.mkdir()
    for end in ENDS:
        (wrong / f"folder{end}").mkdir()
        for name, content in CONTENTS.items():
            (wrong / f"{name}{end}").write_bytes(content)
    return folder


def wrong_words(folder: Path, action: argparse.Action, end: str) -> list[str]:
    """Words that may be wrong for an option.

    Args:
        folder: Of :func:`write_right`.
        action: The option.
        end: The end of the name that stands there where all is right.
    """
    if type(action).__name__ == "CfgOptions":
        return [*CFG_OPTIONS, *NAMES]
    if action.choices is not None:
        return NAMES
    wrong = folder / "wrong"
    files = [str(wrong / f"{name}{e}") for name in [*CONTENTS, "folder"] for e in {end, ""}]
    here = [str(folder / "run.py"), str(folder), str(folder / "none" / f"a{end}")]
    return [*NAMES, *files, *files, *here, str(folder / "run.py" / f"a{end}")]
