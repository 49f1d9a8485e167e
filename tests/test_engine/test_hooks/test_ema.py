"""Averages of the trained weights: saved, resumed, exported, and nothing of what is frozen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.helpers import draws, load_tool, tiny_retrieval_cfg, tiny_run_cfg, write_run_cfg
from uniadapter.apis.model import build_model, init_model
from uniadapter.engine.hooks import EMAHook
from uniadapter.engine.runner.build import build_runner

train = load_tool("train.py")
MOMENTUM = 0.25


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the frozen towers and the heads."""
    torch.manual_seed(0)
    state = build_model(tiny_retrieval_cfg()).state_dict()
    parts = ("visual.", "text.", "vision_proj.", "text_proj.", "itm_head.", "temp")
    path = tmp_path_factory.mktemp("backbone") / "backbone.safetensors"
    save_file({name: t.clone() for name, t in state.items() if name.startswith(parts)}, path)
    return path


def write_cfg(folder: Path, world: Path, backbone: Path, hook: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    cfg = tiny_run_cfg(world, pretrained=str(backbone), random=False)
    cfg["custom_hooks"] = [{"type": "AlphaRampHook"}, hook]
    cfg["default_hooks"]["checkpoint"] = {"by_epoch": False, "interval": 1, "max_keep_ckpts": -1}
    return write_run_cfg(folder / "cfg.py", cfg)


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


HOOK = {"type": "EMAHook", "momentum": MOMENTUM}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path, backbone: Path) -> Path:
    """Folder of a run of 4 iterations."""
    folder = tmp_path_factory.mktemp("whole")
    train.main([str(write_cfg(folder, tiny_world, backbone, HOOK)), "--work-dir", str(folder)])
    return folder


def test_averages_are_those_of_the_formula(whole: Path):
    weights = [read(whole / f"iter_{i}.pth")["ema_state_dict"] for i in range(1, 5)]
    for name in weights[0]:
        if not name.startswith("module."):
            continue
        # MMEngine's first update copies.
        expected = weights[0][name]
        for later in weights[1:]:
            expected = (1 - MOMENTUM) * expected + MOMENTUM * later[name]
        found = read(whole / "iter_4.pth")["state_dict"][name.removeprefix("module.")]
        torch.testing.assert_close(found, expected)
        moved = not torch.equal(found, weights[-1][name])
        assert moved or torch.equal(weights[0][name], weights[-1][name])


def test_nothing_frozen_is_saved(whole: Path):
    content = read(whole / "iter_4.pth")
    names = {n.removeprefix("module.") for n in content["ema_state_dict"]} - {"steps"}
    assert names == {name for group in content["optimizer_names"] for name in group}
    assert not any(name.startswith(("visual.", "text.")) for name in content["state_dict"])


@pytest.mark.parametrize("after", [1, 2])
def test_resumes_bit_for_bit(
    whole: Path, tmp_path: Path, tiny_world: Path, backbone: Path, after: int
):
    folder = tmp_path / "parts"
    cfg = write_cfg(folder, tiny_world, backbone, HOOK)
    shutil.copy(whole / f"iter_{after}.pth", folder)
    file = str(folder / f"iter_{after}.pth")
    train.main([str(cfg), "--work-dir", str(folder), "--resume", file])
    expected, found = read(whole / "iter_4.pth"), read(folder / "iter_4.pth")
    for part in ("state_dict", "ema_state_dict"):
        assert set(expected[part]) == set(found[part])
        for name, value in expected[part].items():
            assert torch.equal(value, found[part][name]), name


def test_the_exported_adapter_and_the_checkpoint_are_one_model(whole: Path):
    state = read(whole / "iter_4.pth")["state_dict"]
    for name, value in load_file(whole / "iter_4_adapter/adapter_model.safetensors").items():
        assert torch.equal(value, state[name]), name
    models = [
        init_model(whole / "cfg.py", whole / name) for name in ("iter_4.pth", "iter_4_adapter")
    ]
    own, other = (dict(model.named_parameters()) for model in models)
    assert all(torch.equal(own[name], other[name]) for name in own)


KINDS = [{}, {"ema_type": "StochasticWeightAverage"}]
KINDS += [{"ema_type": "MomentumAnnealingEMA", "gamma": 2}]


@pytest.mark.deep
@settings(max_examples=draws(1, 8), derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    begin=st.sampled_from([{}, {"begin_iter": 2}, {"begin_iter": 4}, {"begin_epoch": 2}]),
    interval=st.integers(1, 2),
    after=st.integers(1, 3),
    runners=st.tuples(*[st.sampled_from(["Runner", "FlexibleRunner"])] * 2),
    frozen=st.booleans(),
    accumulated=st.integers(1, 2),
)
def test_any_averages_resume_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_world: Path,
    backbone: Path,
    kind: dict[str, Any],
    begin: dict[str, int],
    interval: int,
    after: int,
    runners: tuple[str, str],
    frozen: bool,
    accumulated: int,
):
    """Whatever is averaged from when on, and with MMEngine's own hook where all is in the file."""
    hook = {"type": "EMAHook" if frozen else "mmengine.EMAHook", "interval": interval}
    hook |= {"momentum": MOMENTUM, **kind, **begin}
    if kind.get("ema_type") == "StochasticWeightAverage":
        del hook["momentum"]
    finals = []
    for name, runner in zip(("whole", "parts"), runners, strict=True):
        folder = tmp_path_factory.mktemp(name)
        cfg = tiny_run_cfg(tiny_world, pretrained=str(backbone) if frozen else None)
        cfg["custom_hooks"] = [{"type": "AlphaRampHook"}, hook]
        cfg["default_hooks"]["checkpoint"] = {"by_epoch": False, "max_keep_ckpts": -1}
        cfg["optim_wrapper"]["accumulative_counts"] = accumulated
        cfg["runner_type"] = runner
        arguments = [str(write_run_cfg(folder / "cfg.py", cfg)), "--work-dir", str(folder)]
        if finals:
            shutil.copy(finals[0].with_name(f"iter_{after}.pth"), folder)
            arguments += ["--resume", str(folder / f"iter_{after}.pth")]
        train.main(arguments)
        finals.append(folder / "iter_4.pth")
    expected, found = map(read, finals)
    for part in ("state_dict", "ema_state_dict"):
        assert set(expected[part]) == set(found[part])
        for name, value in expected[part].items():
            assert torch.equal(value, found[part][name]), name


def test_plain_hook_is_refused_by_name(tmp_path: Path, tiny_world: Path, backbone: Path):
    cfg = write_cfg(tmp_path, tiny_world, backbone, {"type": "mmengine.EMAHook"})
    with pytest.raises((ValueError, SystemExit), match=r"type='uniadapter\.EMAHook'"):
        train.main([str(cfg), "--work-dir", str(tmp_path)])


def test_averages_may_begin_before_the_first_step(
    tmp_path: Path, tiny_world: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
):
    start: dict[str, torch.Tensor] = {}
    begin = EMAHook.before_train

    def noted(self: EMAHook, runner: Any) -> None:
        start.update({n: p.detach().clone() for n, p in runner.model.named_parameters()})
        begin(self, runner)

    monkeypatch.setattr(EMAHook, "before_train", noted)
    cfg = write_cfg(tmp_path, tiny_world, backbone, {**HOOK, "from_start": True})
    train.main([str(cfg), "--work-dir", str(tmp_path)])
    files = [read(tmp_path / f"iter_{i}.pth") for i in range(1, 5)]
    names = [n for n in files[0]["state_dict"] if f"module.{n}" in files[0]["ema_state_dict"]]
    moved = False
    for name in names:
        expected = start[name]
        for file in files:
            weight = file["ema_state_dict"][f"module.{name}"]
            expected = (1 - MOMENTUM) * expected + MOMENTUM * weight
            torch.testing.assert_close(file["state_dict"][name], expected)
        moved |= not torch.equal(start[name], files[0]["ema_state_dict"][f"module.{name}"])
    assert names
    assert moved
    with pytest.raises(ValueError, match="from_start"):
        EMAHook(from_start=True, begin_iter=3)


def test_buffers_are_no_option():
    with pytest.raises(ValueError, match="update_buffers"):
        EMAHook(update_buffers=True)


@pytest.mark.deep
def test_a_run_of_an_adapter_that_was_added_resumes_bit_for_bit(
    tmp_path: Path, tiny_world: Path, backbone: Path
):
    """Beside the config's own, which stays as it was."""

    def built(folder: Path, *arguments: str) -> Any:
        path = write_cfg(folder, tiny_world, backbone, HOOK)
        given = train.parse_args([str(path), "--work-dir", str(folder), *arguments])
        runner = build_runner(train.build_config(given))
        for name in ("b", "c"):
            runner.model.add_adapter(name, {"type": "LoRA", "rank": 2})
        runner.model.set_adapter("b")
        return runner

    runner = built(tmp_path / "whole")
    kept = {n: t.clone() for n, t in runner.model.state_dict().items() if n.startswith("adapters.")}
    runner.train()
    assert all(torch.equal(runner.model.state_dict()[name], t) for name, t in kept.items())
    (tmp_path / "parts").mkdir()
    shutil.copy(tmp_path / "whole/iter_2.pth", tmp_path / "parts")
    built(tmp_path / "parts", "--resume", str(tmp_path / "parts/iter_2.pth")).train()
    whole, parts = (read(tmp_path / name / "iter_4.pth") for name in ("whole", "parts"))
    assert not any(name.startswith("adapters.") for name in whole["state_dict"])
    for part in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(parts[part][name], t) for name, t in whole[part].items())
    model = init_model(tmp_path / "whole/cfg.py")
    model.load_adapter(tmp_path / "parts/iter_4_adapter", "own")
    model.set_adapter("own")
    for name in {n for group in whole["optimizer_names"] for n in group}:
        assert torch.equal(model.get_parameter(name), whole["state_dict"][name])
