"""``uniadapter list``."""

from __future__ import annotations

import pytest

from uniadapter.cli.commands.list import choose, main
from uniadapter.utils.model_index import ModelEntry, read_models

MODELS = [
    ModelEntry("a_r128", "configs/a/r128.py", ("Retrieval", "VQA"), None, {}),
    ModelEntry("a_r512", "configs/a/r512.py", (), "a.safetensors", {}),
    ModelEntry("b_r128", "configs/b/r128.py", ("VQA",), None, {}),
]


@pytest.mark.parametrize(
    ("pattern", "exclude", "task", "names"),
    [
        (None, [], None, ["a_r128", "a_r512", "b_r128"]),
        ("a", [], None, ["a_r128", "a_r512"]),
        ("*R128", [], None, ["a_r128", "b_r128"]),
        ("a_r?12", [], None, ["a_r512"]),
        (None, ["b", "*512"], None, ["a_r128"]),
        (None, [], "vqa", ["a_r128", "b_r128"]),
        ("a", [], "captions", []),
    ],
)
def test_choice(pattern, exclude, task, names) -> None:
    assert [model.name for model in choose(MODELS, pattern, exclude, task)] == names


def test_names_configs_and_tasks(capsys) -> None:
    assert main(["uniadapter_msrvtt_r"]) == 0
    assert capsys.readouterr().out.split() == ["uniadapter_msrvtt_r128", "uniadapter_msrvtt_r512"]
    assert main(["blip_tiny", "--long"]) == 0
    assert capsys.readouterr().out.split() == [
        *("blip_tiny", "configs/pretrain/blip_tiny.py"),
        *("configs/pretrain/blip_tiny.safetensors", "Text-to-Image", "Retrieval"),
    ]
    assert main(["--tasks"]) == 0
    tasks = {task for model in read_models() for task in model.tasks}
    assert capsys.readouterr().out.splitlines() == sorted(tasks)


def test_nothing_fits(capsys) -> None:
    assert main(["none"]) == 1
    assert capsys.readouterr().out == "No model fits.\n"
    with pytest.raises(ValueError, match="Did you mean 'Image Captioning'"):
        main(["--task", "image captoning"])
