from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.helpers import load_tool, run, tiny_run_cfg, write_run_cfg
from tests.spawn import free_port, run_tool_apart

test_tool = load_tool("test.py")
train = load_tool("train.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """Folder with run.py, whose test_dataloader is ragged for two ranks, and a trained epoch."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = tiny_run_cfg(tiny_world, epochs=1)
    cfg["test_dataloader"]["dataset"]["indices"] = 7
    path = write_run_cfg(folder / "run.py", cfg)
    train.main([str(path), "--work-dir", str(folder), "--no-validate"])
    return folder


def evaluate(folder: Path, checkpoint: str, out: Path, *arguments: str) -> dict[str, float]:
    command = [folder / "run.py", folder / checkpoint, "--out", out, "--work-dir", out.parent]
    test_tool.main([*map(str, command), *arguments])
    return json.loads(out.read_text())


def test_checkpoint_and_exported_adapter_give_the_same_metrics(trained: Path, tmp_path: Path):
    whole = evaluate(trained, "epoch_1.pth", tmp_path / "whole.json")
    assert 0 <= whole["t2v/R1"] <= whole["t2v/R10"] <= 100
    # Without `model.pretrained` the backbone is that of the seed.
    assert evaluate(trained, "epoch_1_adapter", tmp_path / "adapter.json") == whole


@pytest.mark.parametrize("by", ["fork", pytest.param("dist_test.sh", marks=pytest.mark.deep)])
def test_two_processes_give_the_metrics_of_one(trained: Path, tmp_path: Path, by: str):
    expected = evaluate(trained, "epoch_1.pth", tmp_path / "one.json")
    given = [trained / "run.py", trained / "epoch_1.pth"]
    options = ["--out", tmp_path / "two.json", "--work-dir", tmp_path]
    if by == "fork":
        run_tool_apart("test.py", *given, *options, log=tmp_path / "log.txt", world=2)
    else:
        done = run("bash", f"tools/{by}", *given, "2", *options, PORT=str(free_port()))
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two.json").read_text()) == expected


def test_rankings_are_written_and_drawn(trained: Path, tmp_path: Path):
    command = [trained / "run.py", trained / "epoch_1.pth", "--work-dir", tmp_path]
    options = ["--out", tmp_path / "pred.json", "--out-item", "pred", "--show-dir", tmp_path]
    dumped = f"test_cfg.dump={tmp_path / 'own.json'}"
    arguments = [*command, *options, "--show-num", "3", "--cfg-options", dumped]
    test_tool.main([str(argument) for argument in arguments])
    ranking = json.loads((tmp_path / "pred.json").read_text())
    # The loop's own file is the same and is kept where the config says.
    assert ranking == json.loads((tmp_path / "own.json").read_text())
    assert len(ranking["texts"]) == len(ranking["ranks"]) == 7
    assert all(len(listed) == 4 for listed in ranking["top"])
    page = (tmp_path / "predictions.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == 3
    assert ranking["texts"][0] in page
    assert (tmp_path / "predictions.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out-item", "pred"], "--out-item pred needs --out"),
        (["--show-num", "2"], "--show-num 2 needs --show-dir"),
        (["--out", "a.pkl", "--out-item", "pred"], r"a\.pkl: predictions are written as JSON"),
        (["--amp"], "--amp needs a GPU"),
    ],
)
def test_options_that_nothing_would_read(trained: Path, monkeypatch, options, message):
    monkeypatch.setattr(test_tool.torch.cuda, "is_available", lambda: False)
    command = [str(trained / "run.py"), str(trained / "epoch_1.pth")]
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        test_tool.main([*command, *options])


def test_amp_is_the_loop_s_half_precision():
    cfg = Config({"test_cfg": {"type": "RetrievalTestLoop", "k_test": 4}})
    test_tool.set_test_amp(cfg, gpu=True)
    assert cfg.test_cfg.fp16 is True
    cfg.test_cfg.amp_dtype = "bfloat16"
    with pytest.raises(ValueError, match="leave one of them out"):
        test_tool.set_test_amp(cfg, gpu=True)


def test_options_reach_the_loop(trained: Path, tmp_path: Path):
    with pytest.raises(SystemExit, match=r"error: .*k_test = 99 is larger than the gallery"):
        evaluate(trained, "epoch_1.pth", tmp_path / "m.json", "--cfg-options", "test_cfg.k_test=99")


def test_a_checkpoint_of_another_model_is_refused(trained: Path, tmp_path: Path):
    option = "model.adapter.bottleneck=4"
    with pytest.raises(SystemExit, match=r"(?s)error: .*epoch_1\.pth.*r=8.*r=4"):
        evaluate(trained, "epoch_1.pth", tmp_path / "m.json", "--cfg-options", option)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("test_dataloader.drop_last=True", "would leave the last items out of the metrics"),
        ("test_dataloader.dataset.ann_file=gone.jsonl", r"gone\.jsonl.* does not exist"),
        ("test_cfg=None", "has no test_cfg"),
    ],
)
def test_what_cannot_be_evaluated_ends_with_one_line(trained: Path, tmp_path, option, message):
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        evaluate(trained, "epoch_1.pth", tmp_path / "m.json", "--cfg-options", option)


@pytest.mark.parametrize(
    ("checkpoint", "out", "message"),
    [
        ("gone.pth", "m.json", r"gone\.pth does not exist"),
        ("epoch_1.pth", "m.txt", r"--out .*m\.txt: metrics are written as JSON"),
    ],
)
def test_wrong_paths_end_with_one_line(trained: Path, tmp_path: Path, checkpoint, out, message):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        evaluate(trained, checkpoint, tmp_path / out)
