"""Frame weights, features, answers and curves: what the commands write, and what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.helpers import load_tool, tiny_run_cfg, write_run_cfg
from uniadapter.apis.model import build_model

pytest.importorskip("matplotlib")
TOOLS = {
    name: load_tool(f"visualization/draw_{name}.py")
    for name in ("frame_weights", "features", "answers", "curves")
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """Configs of retrieval and of questions with a checkpoint each."""
    folder = tmp_path_factory.mktemp("looking")
    retrieval = tiny_run_cfg(tiny_world)
    questions = [
        {"media": clip.name, "question": "what moves größer?", "answers": ["red"], "question_id": i}
        for i, clip in enumerate(sorted((tiny_world / "clips").iterdir()))
    ]
    (folder / "qa.jsonl").write_text("\n".join(map(json.dumps, questions)))
    vqa = tiny_run_cfg(tiny_world)
    model = vqa["model"]
    for name in ("pfa", "embed_dim", "queue_size"):
        del model[name]
    model |= {"type": "VQAModel", "decoder": {**model["text"], "type": "BertDecoder"}}
    model |= {"inference": "rank", "answer_list": ["red", "blue", "a dot"], "k_test": 3}
    for split in ("train", "val", "test"):
        dataset = vqa[f"{split}_dataloader"]["dataset"]
        dataset |= {"type": "VQAJsonDataset", "ann_file": str(folder / "qa.jsonl")}
        for step in dataset["pipeline"]:
            if step["type"] == "CleanCaption":
                step["type"] = "CleanQuestion"
    del vqa["val_cfg"], vqa["test_cfg"], vqa["val_evaluator"], vqa["test_evaluator"]
    for name, cfg in (("retrieval", retrieval), ("vqa", vqa)):
        write_run_cfg(folder / f"{name}.py", cfg)
        torch.manual_seed(0)
        torch.save({"state_dict": build_model(cfg["model"]).state_dict()}, folder / f"{name}.pth")
    return folder


def texts(page: Path) -> str:
    """What a page says, without its pictures."""
    return re.sub(r'src="[^"]*"', "", page.read_text(encoding="utf-8"))


def draw(world: Path, tool: str, config: str, out: Path, *options: str) -> str:
    files = [str(world / f"{config}.py"), str(world / f"{config}.pth"), str(out)]
    TOOLS[tool].main([*files, *options])
    assert Image.open(out).width > 100
    return texts(out.with_suffix(".html"))


@pytest.mark.parametrize(
    "options", [(), ("--layer", "2"), ("--token", "first", "--text", "größer")]
)
def test_frame_weights(world: Path, tmp_path: Path, options: tuple[str, ...]):
    page = draw(world, "frame_weights", "retrieval", tmp_path / "a.png", "--num", "3", *options)
    assert page.count("<h2>") == 3
    assert page.count("<img") == 9
    assert ("größer" in page) == ("--text" in options)


def test_frame_weights_of_questions(world: Path, tmp_path: Path):
    page = draw(world, "frame_weights", "vqa", tmp_path / "a.png", "--num", "1")
    assert "what moves größer" in page
    assert "weights A" not in page


def test_features(world: Path, tmp_path: Path):
    options = ("--num", "8", "--what", "hidden", "--tokens", "mean")
    page = draw(world, "features", "retrieval", tmp_path / "a.png", *options)
    assert page.count("<img") == 2
    assert "visual.after_self, text.after_self, fusion.after_self, fusion.after_cross" in page


def test_answers(world: Path, tmp_path: Path):
    page = draw(world, "answers", "vqa", tmp_path / "a.png", "--num", "4")
    assert page.count("Target: red") == page.count("what moves größer?") == 4
    assert len(re.findall(r"Answer: (red|blue|a dot)<", page)) == 4
    assert page.count('class="right"') == page.count("Answer: red<")


def test_curves(tmp_path: Path):
    for run in ("one", "two"):
        path = tmp_path / run / "20260101_000000" / "vis_data" / "scalars.json"
        path.parent.mkdir(parents=True)
        lines = [{"loss": 1.0 / i, "lr": 0.1, "iter": 50 * i, "step": 50 * i} for i in (1, 2)]
        path.write_text("\n".join(map(json.dumps, [*lines, {"t2v/R1": 2.0, "step": 1}])))
    runs, out = [str(tmp_path / "one"), str(tmp_path / "two")], str(tmp_path / "a.png")
    TOOLS["curves"].main([*runs, "--out", out])
    assert texts(tmp_path / "a.html").count("<img") == 3
    TOOLS["curves"].main([*runs, "--out", out, "--keys", "t2v/R1", "--names", "a_", "_b", "--log"])
    assert texts(tmp_path / "a.html").count("<img") == 1
    for options, message in (
        (["--keys", "t2v/r1"], r"no run has logged it.*Did you mean 't2v/R1'"),
        (["--names", "a"], "need as many different names"),
        (["--names", "a", "a"], "need as many different names"),
    ):
        with pytest.raises(SystemExit, match=message):
            TOOLS["curves"].main([*runs, "--out", out, *options])
    with pytest.raises(SystemExit, match=r"error: .*none does not exist"):
        TOOLS["curves"].main([str(tmp_path / "none"), "--out", out])


Change = Callable[[list[str], Path], Any]


def config_of(name: str) -> Change:
    def change(files: list[str], world: Path) -> None:
        files[:2] = [str(world / f"{name}.py"), str(world / f"{name}.pth")]

    return change


def broken_video(files: list[str], world: Path) -> None:
    """Clips without a frame."""
    for clip in ("red_square", "blue_dot"):
        (world / "empty" / clip).mkdir(parents=True, exist_ok=True)
    (world / "broken.jsonl").write_text('{"media": "red_square", "text": "a"}\n')
    dataset = "test_dataloader.dataset"
    files += ["--cfg-options", f"{dataset}.data_prefix.media={world}/empty"]
    files += [f"{dataset}.ann_file={world}/broken.jsonl"]


BAD: list[tuple[str, str, Change, str]] = [
    ("frame_weights", "retrieval", lambda f, _: f.__setitem__(1, "none.pth"), "none.pth does not"),
    ("features", "retrieval", lambda f, _: f.__setitem__(0, "none.py"), "none.py does not exist"),
    ("answers", "vqa", lambda f, _: f.__setitem__(2, "a.jpg"), r"ending in \.png"),
    ("features", "retrieval", lambda f, _: f.extend(["--num", "2", "--perplexity", "50"]), "perpl"),
    ("features", "retrieval", lambda f, _: f.extend(["--layer", "7"]), "counted from 1 to 2"),
    ("features", "retrieval", lambda f, _: f.extend(["--sites", "text.f"]), "this model has"),
    ("frame_weights", "retrieval", lambda f, _: f.extend(["--layer", "3"]), "the layers 1 to 2"),
    ("frame_weights", "retrieval", lambda f, _: f.extend(["--height", "1"]), "at least 8 pixels"),
    ("answers", "vqa", config_of("retrieval"), "RetrievalModel, which answers no questions"),
    ("answers", "vqa", lambda f, w: f.__setitem__(1, str(w / "retrieval.pth")), r"retrieval\.pth"),
    ("frame_weights", "retrieval", broken_video, r"None of 1 media.*red_square.*verify_dataset"),
]


@pytest.mark.parametrize(("tool", "config", "change", "message"), BAD)
def test_bad_input_is_one_line(
    world: Path, tmp_path: Path, tool: str, config: str, change: Change, message: str
):
    out = tmp_path / "a.png"
    files = [str(world / f"{config}.py"), str(world / f"{config}.pth"), str(out)]
    change(files, world)
    with pytest.raises(SystemExit, match=f"(?s)error: .*{message}"):
        TOOLS[tool].main(files)
    assert not out.exists()


def test_a_video_that_cannot_be_read_is_left_out(
    world: Path, tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    (world / "some").mkdir(exist_ok=True)
    clips = sorted((tiny_world / "clips").iterdir())[:3]
    for number, clip in enumerate(clips):
        link = world / "some" / f"clip{number}"
        if number == 1:
            link.mkdir()
        else:
            link.symlink_to(clip)
    lines = [json.dumps({"media": f"clip{n}", "text": "a dot"}) for n in range(3)]
    (world / "some.jsonl").write_text("\n".join(lines))
    dataset = "test_dataloader.dataset"
    page = draw(
        world, "frame_weights", "retrieval", tmp_path / "a.png", "--cfg-options",
        f"{dataset}.data_prefix.media={world}/some", f"{dataset}.ann_file={world}/some.jsonl",
    )  # fmt: skip
    assert page.count("<h2>") == 2
    assert "left out: " in page
    assert "clip1" in capsys.readouterr().err
