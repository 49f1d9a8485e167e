from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers import load_tool, run_tool, tiny_run_cfg, write_run_cfg

train = load_tool("train.py")


@pytest.fixture
def cfg_file(tmp_path: Path, tiny_world: Path) -> Path:
    return write_run_cfg(tmp_path / "run.py", tiny_run_cfg(tiny_world, epochs=1))


def build(*arguments: str | Path):
    return train.build_config(train.parse_args([str(argument) for argument in arguments]))


def test_help_says_what_a_config_is(capsys):
    with pytest.raises(SystemExit):
        train.parse_args(["--help"])
    text = capsys.readouterr().out
    for option in ("--work-dir", "--resume", "--amp", "--cfg-options", "--launcher"):
        assert option in text
    assert "A config file is a program" in text


def test_work_dir_defaults_to_the_name_of_the_config(cfg_file: Path):
    assert build(cfg_file).work_dir == "work_dirs/run"
    assert build(cfg_file, "--cfg-options", "work_dir=there").work_dir == "there"
    assert build(cfg_file, "--work-dir", "here").work_dir == "here"


@pytest.mark.parametrize(
    ("arguments", "resume", "load_from"),
    [((), False, None), (("--resume",), True, None), (("--resume", "auto"), True, None)]
    + [(("--resume", "a.pth"), True, "a.pth")],
)
def test_resume(cfg_file: Path, arguments, resume: bool, load_from: str | None):
    cfg = build(cfg_file, *arguments)
    assert (cfg.resume, cfg.load_from) == (resume, load_from)


def test_no_validate(cfg_file: Path):
    cfg = build(cfg_file, "--no-validate")
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


def test_amp_on_a_gpu(cfg_file: Path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    wrapper = build(cfg_file, "--amp").optim_wrapper
    assert (wrapper.type, wrapper.loss_scale) == ("AmpOptimWrapper", "dynamic")
    with pytest.raises(ValueError, match=r"--amp replaces .* config has 'MyWrapper'"):
        build(cfg_file, "--amp", "--cfg-options", "optim_wrapper.type=MyWrapper")


def test_amp_without_a_gpu_is_an_error(cfg_file: Path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--amp needs a GPU"):
        build(cfg_file, "--amp")


def test_auto_scale_lr(cfg_file: Path):
    assert build(cfg_file, "--auto-scale-lr").auto_scale_lr.enable
    with pytest.raises(ValueError, match=r"no `auto_scale_lr\.base_batch_size`"):
        build(cfg_file, "--auto-scale-lr", "--cfg-options", "auto_scale_lr=None")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.adapter.botleneck=8", r"model\.adapter\.botleneck is no option of UniAdapter"),
        ("modle.adapter.bottleneck=8", "the config has no key `modle`"),
        ("val_cfg.type=ValLop", r"val_cfg\.type='ValLop' is not registered"),
        ("model.type=Retrieval", r"model\.type='Retrieval' is not registered"),
        ("runner_type=Runer", r"runner_type='Runer' is not registered\. Did you mean 'Runner'"),
        ("model.adapter.scale=nan", r"model\.adapter\.scale is NaN"),
        ("model.embed_dim=0", "embed_dim=0 of a MomentumContrastHead must be at least 1"),
        ("model.pfa=paper", r"model\.pfa='paper' must be a dict with a `type`"),
        ("train_cfg=None", "without train_cfg|has no train_cfg"),
        ("default_scope=mmengine", "default_scope='mmengine' has no RetrievalModel"),
        ("model.data_preprocessor.tokenizer.vocab=x", "unexpected keyword argument 'vocab'"),
        ("model.data_preprocessor.max_text_len=99", "max_text_len allows texts of 99 tokens, but"),
    ],
)
def test_typos_end_with_one_line(cfg_file: Path, tmp_path: Path, option: str, message: str):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        train.main([str(cfg_file), "--work-dir", str(tmp_path), "--cfg-options", option])


def test_a_missing_config_ends_with_one_line(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"error: Config file .*gone\.py does not exist"):
        train.main([str(tmp_path / "gone.py")])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "train_dataloader.dataset.ann_file=gone.jsonl",
            r"ann_file = .*gone\.jsonl.* does not exist",
        ),
        ("val_dataloader.dataset.data_prefix.media=gone", "gone' is not a folder"),
        ("load_from={config}", r"run\.py is .*"),
        ("model.pretrained=gone.safetensors", r"gone\.safetensors does not exist: put the weights"),
        (
            "train_dataloader.batch_size=17",
            "has 16 items, fewer than one batch of 17, and drop_last",
        ),
    ],
)
def test_missing_files_and_data_end_with_one_line(cfg_file, tmp_path, option: str, message: str):
    command = [str(cfg_file), "--work-dir", str(tmp_path / "out"), "--cfg-options"]
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        train.main([*command, "train_dataloader.drop_last=True", option.format(config=cfg_file)])
    assert not list(tmp_path.glob("out/*.pth"))


def test_nothing_to_train_is_an_error(tmp_path: Path, tiny_world: Path):
    cfg = tiny_run_cfg(tiny_world, adapter=None, train_heads=False, train_temperature=False)
    path = write_run_cfg(tmp_path / "frozen.py", cfg)
    with pytest.raises(SystemExit, match=r"error: .*no trainable parameter"):
        train.main([str(path), "--work-dir", str(tmp_path)])


def test_the_command_trains_and_says_how_long_it_will_take(cfg_file: Path, tmp_path: Path):
    done = run_tool("train.py", cfg_file, "--work-dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Failed to search registry" not in done.stdout
    assert "eta:" in done.stdout
    assert "loss_itc" in done.stdout
    assert "t2v/R1" in done.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"run.py", "epoch_1.pth", "epoch_1_adapter", "last_checkpoint"} <= names
