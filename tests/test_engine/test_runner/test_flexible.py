"""FlexibleRunner computes, saves and resumes what Runner does.

Two processes with DDPStrategy are in tests/test_integration/test_distributed.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tests.helpers import ROOT, load_tool, tiny_run_cfg, write_run_cfg
from uniadapter.engine import launch
from uniadapter.engine.launch import setup_distributed
from uniadapter.engine.runner import CheckedFlexibleRunner, build_runner
from uniadapter.engine.runner.check_options import check_options
from uniadapter.engine.runner.check_strategy import check_strategy
from uniadapter.utils.config import load_config

train, test = load_tool("train.py"), load_tool("test.py")


def write_cfg(folder: Path, world: Path, **more: Any) -> Path:
    """Random crops, averages, an update every second iteration, a best checkpoint."""
    folder.mkdir(exist_ok=True)
    cfg = tiny_run_cfg(world, batch_size=4, epochs=1)
    cfg["optim_wrapper"]["accumulative_counts"] = 2
    cfg["custom_hooks"] = [{"type": "AlphaRampHook"}, {"type": "EMAHook", "momentum": 0.25}]
    cfg["default_hooks"]["checkpoint"] = {
        **{"by_epoch": False, "interval": 1, "max_keep_ckpts": -1},
        **{"save_best": "t2v/R1", "rule": "greater"},
    }
    return write_run_cfg(folder / "cfg.py", {**cfg, **more})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """Folder of a run by Runner: four iterations, two updates."""
    folder = tmp_path_factory.mktemp("plain")
    train.main([str(write_cfg(folder, tiny_world)), "--work-dir", str(folder)])
    return folder


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, torch.Tensor):
        return torch.equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[k], expected[k]) for k in expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


def compare(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """All but names, times and the text of the config."""
    assert set(found) == set(expected)
    for key in sorted(set(expected) - {"meta", "message_hub"}):
        assert same(found[key], expected[key]), key
    told = set(expected["meta"]) - {"cfg", "time", "experiment_name"}
    assert set(found["meta"]) == {*expected["meta"], "mmengine"}
    for key in sorted(told):
        assert found["meta"][key] == expected["meta"][key], key


def test_a_run_is_the_same_bit_for_bit(plain: Path, tmp_path: Path, tiny_world: Path):
    cfg = write_cfg(tmp_path, tiny_world, runner_type="FlexibleRunner")
    train.main([str(cfg), "--work-dir", str(tmp_path)])
    names = {path.name for path in plain.iterdir() if path.suffix == ".pth" or path.is_dir()}
    names = {name for name in names if not name.startswith("20")}
    assert len(names) > 8
    assert names <= {path.name for path in tmp_path.iterdir()}
    for name in sorted(name for name in names if name.endswith(".pth")):
        compare(read(tmp_path / name), read(plain / name))
    # Nothing half written is left.
    assert not list(tmp_path.glob(".*"))


def test_it_resumes_what_the_other_runner_wrote(plain: Path, tmp_path: Path, tiny_world: Path):
    # Between two updates, inside the epoch.
    shutil.copy(plain / "iter_3.pth", tmp_path)
    (tmp_path / "iter_4.pth").write_bytes((plain / "iter_4.pth").read_bytes()[:5000])
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_4.pth"))
    cfg = write_cfg(tmp_path, tiny_world, runner_type="FlexibleRunner")
    train.main([str(cfg), "--work-dir", str(tmp_path), "--resume"])
    found, expected = read(tmp_path / "iter_4.pth"), read(plain / "iter_4.pth")
    for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        assert same(found[key], expected[key]), key


def test_it_tests_the_averages_in_the_file(plain: Path, tmp_path: Path, tiny_world: Path):
    cfg = write_cfg(tmp_path, tiny_world, runner_type="FlexibleRunner")
    out = tmp_path / "metrics.json"
    given = [str(cfg), str(plain / "iter_4.pth"), "--work-dir", str(tmp_path)]
    test.main([*given, "--out", str(out)])
    # What the run by Runner validated last, on the same data, with the averages in place.
    (log,) = plain.glob("*/vis_data/scalars.json")
    validated = json.loads(log.read_text().splitlines()[-1])
    found = json.loads(out.read_text())
    assert found["t2v/RMean"] == validated["t2v/RMean"]
    assert {k: v for k, v in found.items() if k in validated and "time" not in k} == {
        k: v for k, v in validated.items() if k in found and "time" not in k
    }


def test_it_is_the_class_of_the_package(tmp_path: Path, tiny_world: Path):
    cfg = load_config(write_cfg(tmp_path, tiny_world, runner_type="FlexibleRunner", compile=True))
    cfg.work_dir = str(tmp_path)
    setup_distributed(cfg)
    runner = build_runner(cfg)
    assert isinstance(runner, CheckedFlexibleRunner)
    assert runner._compile is True
    assert sum(p.numel() for p in runner.model.parameters()) > 1000


PLAIN_SAVING = {"checkpoint": {"type": "mmengine.CheckpointHook"}}
FSDP = {"type": "FSDPStrategy", "state_dict_cfg": "full"}
DEEPSPEED = {"type": "DeepSpeedStrategy", "zero_optimization": {"stage": 2}}


@pytest.mark.parametrize(
    ("options", "launcher", "message"),
    [
        ({"strategy": {"type": "DDPStrategy"}}, "pytorch", r"nothing reads `strategy`.*'Checked"),
        ({"find_unused_parameters": True}, "flexible", r"nothing reads `find_unused.*model_wrap"),
        ({"sync_bn": "torch"}, "flexible", r"nothing reads `sync_bn`.*strategy\.sync_bn"),
        ({"model_wrapper_cfg": {"type": "MMDistributedDataParallel"}}, "flexible", "model_wrapper"),
        ({"strategy": {"type": "DDPStrategy"}}, "flexible", "needs processes that a launcher"),
        ({"strategy": {"sync_bn": "torch"}}, "flexible", "strategy has no `type`"),
        ({"strategy": "DDPStrategy"}, "flexible", r"must be dict\(type='DDPStrategy'\)"),
        ({"strategy": {"type": "DDP"}}, "flexible", r"strategy\.type='DDP' is not registered"),
        (
            {"strategy": {"type": "DDPStrategy", "syncbn": "torch"}},
            "flexible",
            r"strategy\.syncbn is no option of DDPStrategy\. Did you mean 'sync_bn'",
        ),
        (
            {"strategy": {"type": "DDPStrategy", "work_dir": "x"}},
            "flexible",
            r"strategy\.work_dir is the runner's",
        ),
        ({"strategy": {"type": "SingleDeviceStrategy"}}, "processes", "a model of its own"),
        ({"strategy": DEEPSPEED}, "processes", "needs the package deepspeed.*pip install"),
        ({"strategy": FSDP}, "processes", r"checkpoint\.type='SafeCheckpointHook' reads whole"),
        (
            {
                "strategy": FSDP,
                "default_hooks": {"checkpoint": {"type": "mmengine.CheckpointHook"}},
            },
            "processes",
            r"custom_hooks\.1\.type='EMAHook' changes whole tensors",
        ),
        (
            {"default_hooks": {"checkpoint": {"backend_args": {"backend": "petrel"}}}},
            "flexible",
            r"nothing reads `default_hooks\.checkpoint\.backend_args`",
        ),
    ],
)
def test_what_no_runner_reads_is_an_error(
    tmp_path: Path, tiny_world: Path, options: dict[str, Any], launcher: str, message: str
):
    cfg = load_config(write_cfg(tmp_path, tiny_world))
    cfg.merge_from_dict({"work_dir": str(tmp_path), **options})
    cfg.launcher = "none" if launcher == "flexible" else "pytorch"
    if launcher != "pytorch":
        cfg.runner_type = "FlexibleRunner"
    with pytest.raises(ValueError, match=message):
        build_runner(cfg)


def test_a_strategy_gets_what_the_config_says(tmp_path: Path, tiny_world: Path):
    """What can't be run here is handed to MMEngine's strategy as it stands."""
    cfg = load_config(write_cfg(tmp_path, tiny_world, runner_type="FlexibleRunner"))
    cfg.merge_from_dict({"strategy": FSDP, "launcher": "pytorch", "custom_hooks": []})
    cfg.default_hooks.checkpoint.type = "mmengine.CheckpointHook"
    check_options(cfg)
    check_strategy(cfg, CheckedFlexibleRunner)
    assert cfg.strategy == Config({"strategy": FSDP}).strategy


def test_processes_without_a_gpu_get_no_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launch, "_init_gloo", lambda *args: None)
    cfg = load_config(ROOT / "configs/_base_/default_runtime.py")
    cfg.merge_from_dict(
        {
            "runner_type": "FlexibleRunner",
            "strategy": {"type": "DDPStrategy", "model_wrapper": {"find_unused_parameters": True}},
        }
    )
    setup_distributed(cfg, "pytorch")
    assert cfg.get("model_wrapper_cfg") is None
    wrapper = cfg.strategy.model_wrapper
    assert wrapper.type == "MMDistributedDataParallel"
    assert wrapper.device_ids is None
    assert wrapper.find_unused_parameters is True
