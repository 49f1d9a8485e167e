"""One table of all embedded benchmarks: from results that are valid, and from them alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.spawn import run_tool_apart
from tests.toy_parts import draw_parts, load_tool
from tools import quickstart


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("analysis_tools/run_tiny.py")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_parts(tmp_path_factory.mktemp("run_tiny") / "world")


def result(**changes: Any) -> dict[str, Any]:
    return {
        "benchmark": "coco_caption",
        "method": "r32",
        "config": "configs/tiny/coco_caption_r32.py",
        "metrics": {"Bleu_4": 12.34, "CIDEr": 56.78},
        "trainable": 250,
        "total": 1000,
        "train_seconds": 61.4,
        "test_seconds": 5.0,
        "threads": 1,
        **changes,
    }


def test_all_seven_benchmarks_and_other_backbones_have_their_methods(tool: ModuleType) -> None:
    jobs = tool.jobs_of(list(tool.BENCHMARKS), list(tool.METHODS))
    tables: dict[str, set[str]] = {}
    for name, benchmark in tool.BENCHMARKS.items():
        tables.setdefault(benchmark.table, set()).add(name)
    assert len(tables["benchmarks"]) == 7
    assert "flickr30k_vse" in tables["unipt"]
    assert tables["backbones"] == {
        f"flickr30k_{name}" for name in ("blip_large", "albef", "beit3", "clip")
    }
    for name, benchmark in tool.BENCHMARKS.items():
        methods = {job.method for job in jobs if job.benchmark == name}
        # A model that never saw an answer has no zero-shot answers.
        missing = {"zero_shot"} if name in ("vqav2", "msrvttqa") else set()
        # UniPT's own backbones have it in UniAdapter's place.
        missing.add("r32" if benchmark.table == "unipt" else "unipt")
        assert methods == set(tool.METHODS) - missing


def test_the_table_shows_a_result(tool: ModuleType) -> None:
    lines = tool.table([result()]).splitlines()
    assert lines[2] == (
        "| COCO caption | BLEU-4 / CIDEr | UniAdapter | 12.3 / 56.8 | 250 | 25.0% | 61 | 5 | 1 |"
    )
    assert len({line.count("|") for line in lines}) == 1


def test_a_direction_is_named_once(tool: ModuleType) -> None:
    measures = tool.measures_of(tool.BENCHMARKS["flickr30k"])
    assert measures == "t2i R@1 / R@5 / R@10 / i2t R@1 / R@5 / R@10"


def test_the_table_is_put_between_the_marks_of_a_page(tool: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n")
    tool.write_table([result()], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "12.3 / 56.8" in text
    assert "1 of 26 rows, 1 minutes in all" in text
    # What is not there is named.
    assert "vqav2_full_finetune" in text
    assert "coco_caption_r32" not in text
    # The other table is not touched, nor is it missed.
    backbones = f"{tool.BACKBONES_BEGIN}\nkept\n{tool.BACKBONES_END}\n"
    page.write_text(f"{tool.BEGIN}\n{tool.END}\n{backbones}")
    tool.write_table([result()], page)
    assert page.read_text().endswith(f"\n{backbones}")
    metrics = dict.fromkeys(tool.IMAGES.values(), 1.0)
    clip = result(benchmark="flickr30k_clip", config="configs/tiny/flickr30k_clip_r32.py")
    before = page.read_text().split(tool.BACKBONES_BEGIN)[0]
    tool.write_table([{**clip, "metrics": metrics}], page)
    assert page.read_text().startswith(before)
    assert "kept" not in page.read_text()
    assert "| Flickr30K, CLIP | " in page.read_text()
    page.write_text(f"{tool.END} {tool.BEGIN}")
    with pytest.raises(ValueError, match=r"page\.md must hold the lines"):
        tool.write_table([result()], page)


def test_a_result_of_another_config_or_of_other_data_is_not_used(
    tool: ModuleType, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = tool.parse_args(["--only", "coco_caption", "--world", str(world)])
    job = tool.Job("coco_caption", "r32")
    folder = tmp_path / "coco_caption_r32"
    folder.mkdir()
    key = tool.fingerprint(job, world, None)
    (folder / "result.json").write_text(json.dumps(result(fingerprint=key)))
    assert [found["method"] for found in tool.valid_results(args, world, tmp_path)] == ["r32"]
    assert tool.fingerprint(job, world, 1) != key
    facts = world / "coco" / "part.json"
    content = facts.read_text()
    facts.write_text(content.replace('"sha256": "', '"sha256": "0'))
    try:
        assert tool.valid_results(args, world, tmp_path) == []
    finally:
        facts.write_text(content)


def test_a_run_that_fails_leaves_no_row(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--only", "coco_caption", "--methods", "r32", "--work-dir", str(tmp_path / "work")]
    with pytest.raises(SystemExit, match="1 rows failed"):
        tool.main([*argv, "--world", str(tmp_path / "nothing")])
    assert "FAILED configs/tiny/coco_caption_r32.py" in capsys.readouterr().err
    assert json.loads((tmp_path / "work" / "table.json").read_text()) == []


def test_a_test_without_the_figure_is_a_failure(
    tool: ModuleType, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {"Bleu_4": 1.0, "train_seconds": 1.0, "test_seconds": 1.0}
    monkeypatch.setattr(tool, "train_and_test", lambda *args: written)
    args = tool.parse_args([])
    (tmp_path / "coco_caption_r32").mkdir()
    with pytest.raises(RuntimeError, match="has no .'CIDEr'"):
        tool.run_job(tool.Job("coco_caption", "r32"), args, world, tmp_path, "key")
    assert not (tmp_path / "coco_caption_r32" / "result.json").exists()


def forked(program: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """The program in a process that need not import everything anew."""
    script = program[1].removeprefix("tools/")
    run_tool_apart(script, *program[2:], log=Path(options["stdout"].name))
    return subprocess.CompletedProcess(program, 0)


def test_a_small_run(
    tool: ModuleType,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quickstart, "subprocess", SimpleNamespace(run=forked))
    argv = ["--only", "vqav2", "--methods", "linear_probe", "--epochs", "1"]
    argv += ["--world", str(world), "--work-dir", str(tmp_path), "--out", str(tmp_path / "t.md")]
    tool.main(argv)
    (row,) = json.loads((tmp_path / "table.json").read_text())
    metrics = json.loads((tmp_path / "vqav2_linear_probe" / "metrics.json").read_text())
    assert row["metrics"] == {"accuracy": metrics["accuracy"]}
    assert row["trainable"] == 128 * 128 + 128 + 2 * 128 + 189
    assert row["train_seconds"] > 0
    assert "| VQAv2 | accuracy | linear probe |" in (tmp_path / "t.md").read_text()
    stamp = (tmp_path / "vqav2_linear_probe" / "result.json").stat().st_mtime_ns
    tool.main(argv)
    assert (tmp_path / "vqav2_linear_probe" / "result.json").stat().st_mtime_ns == stamp
    assert "linear_probe.py ..." in capsys.readouterr().out
