from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.serialization import get_unsafe_globals_in_checkpoint

from tests.toy import ToyModel, toy_runner
from uniadapter.engine.hooks import SafeCheckpointHook, safe_checkpoint
from uniadapter.engine.runner import checkpoint_content
from uniadapter.evaluation.functional.glue_scores import GLUE_MEASURES


@pytest.fixture(autouse=True)
def fingerprint(monkeypatch):
    """The toy's fingerprint is the sum of its frozen weights."""

    def digest(model) -> str:
        return f"{float(model.visual.weight.sum()):.6f}"

    monkeypatch.setattr(safe_checkpoint, "backbone_fingerprint", digest)


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_files_need_no_pickled_code(tmp_path: Path):
    runner = toy_runner(tmp_path, validate=True, checkpoint={"save_best": "t2v/R1"})
    runner.train()
    files = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert files == ["best_t2v_R1_epoch_2.pth", "epoch_1.pth", "epoch_2.pth"]
    for name in files:
        assert get_unsafe_globals_in_checkpoint(tmp_path / name) == []
    checkpoint = load(tmp_path / "epoch_2.pth")
    assert checkpoint["message_hub"]["log_scalars"] == {}
    assert type(checkpoint["message_hub"]["runtime_info"]["best_score"]) is float
    assert checkpoint["meta"]["dataset_meta"] == {"classes": ["a", "b"]}
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_2.pth")
    assert not list(tmp_path.glob(".*"))


MEASURES = (
    *("average", "nlvr/accuracy", "nlvr/consistency", "vqa/topk_score", "vqa/topk_not_optimal"),
    *("answer_type/yes_no", "vqa/question_type/what", "Bleu_4", "caption/METEOR", "ROUGE_L"),
    *("caption/CIDEr", "SPICE", "t2v/RMean", "Rsum", "refcoco/P@1", "score"),
    *GLUE_MEASURES,
)


def test_the_best_of_every_measure_is_known_without_a_rule():
    """docs/training.md chooses by the average of several tasks."""
    rules = SafeCheckpointHook(save_best=list(MEASURES)).rules
    assert dict(zip(MEASURES, rules, strict=True)) == dict.fromkeys(MEASURES, "greater")
    assert SafeCheckpointHook(save_best=["t2v/MdR", "unreadable"]).rules == ["less", "less"]


@pytest.mark.parametrize(
    "name", ["average_loss", "loss/average", "val/score_loss", "brier_score", "f1_error"]
)
def test_no_rule_is_guessed_by_a_part_of_a_name(name: str):
    if "loss" in name:
        assert SafeCheckpointHook(save_best=name).rules == ["less"]
    else:
        with pytest.raises(ValueError, match="rule"):
            SafeCheckpointHook(save_best=name)
    assert SafeCheckpointHook(save_best="score", less_keys=["score"]).rules == ["less"]
    assert SafeCheckpointHook(save_best="score", rule="less").rules == ["less"]


def test_all_is_saved_without_pretrained(tmp_path: Path):
    runner = toy_runner(tmp_path, epochs=1)
    runner.train()
    assert set(load(tmp_path / "epoch_1.pth")["state_dict"]) == set(runner.model.state_dict())


def test_frozen_towers_are_left_out_with_pretrained(tmp_path: Path):
    runner = toy_runner(tmp_path, epochs=1, model={"pretrained": "w"})
    runner.train()
    checkpoint = load(tmp_path / "epoch_1.pth")
    left_out = {"visual.weight", "visual.bias"}
    assert set(checkpoint["state_dict"]) == set(runner.model.state_dict()) - left_out
    assert set(checkpoint["meta"]["left_out"]) == left_out
    assert checkpoint["meta"]["backbone_sha256"] == safe_checkpoint.backbone_fingerprint(
        runner.model
    )


def test_old_files_go_only_after_the_new_one_is_there(tmp_path: Path, monkeypatch):
    runner = toy_runner(tmp_path, epochs=3, checkpoint={"max_keep_ckpts": 1})
    seen = []
    original = runner.save_checkpoint

    def save(out_dir, filename, *args, **kwargs):
        seen.append(sorted(path.name for path in tmp_path.glob("*.pth")))
        original(out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(runner, "save_checkpoint", save)
    runner.train()
    assert seen == [[], ["epoch_1.pth"], ["epoch_2.pth"]]
    assert [path.name for path in tmp_path.glob("*.pth")] == ["epoch_3.pth"]


def test_adapter_is_exported_beside_each_checkpoint(tmp_path: Path, monkeypatch):
    def save_adapter(model, folder, values=None):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "adapter").write_text(str(model.temp.item()))

    monkeypatch.setattr(safe_checkpoint, "save_adapter", save_adapter)
    monkeypatch.setattr(ToyModel, "adapter", "an adapter", raising=False)
    options = {"max_keep_ckpts": 1, "save_best": "t2v/R1"}
    runner = toy_runner(tmp_path, epochs=3, validate=True, checkpoint=options)
    runner.train()
    folders = sorted(path.name for path in tmp_path.glob("*_adapter"))
    assert folders == ["best_t2v_R1_epoch_3_adapter", "epoch_3_adapter"]
    assert (tmp_path / "epoch_3_adapter/adapter").read_text() == str(runner.model.temp.item())

    toy_runner(tmp_path / "off", epochs=1, checkpoint={"export_adapter": False}).train()
    assert not list((tmp_path / "off").glob("*_adapter"))


def test_resume_goes_on_as_if_never_stopped(tmp_path: Path):
    whole = toy_runner(tmp_path / "whole", epochs=3)
    whole.train()
    toy_runner(tmp_path / "parts", epochs=3).train()
    for number in (2, 3):
        (tmp_path / f"parts/epoch_{number}.pth").unlink()
    (tmp_path / "parts/last_checkpoint").write_text(str(tmp_path / "parts/epoch_1.pth"))
    resumed = toy_runner(tmp_path / "parts", epochs=3, resume=True)
    resumed.train()
    for name, value in whole.model.state_dict().items():
        assert resumed.model.state_dict()[name].equal(value), name


def test_truncated_last_checkpoint_falls_back_with_both_names(tmp_path: Path, monkeypatch):
    toy_runner(tmp_path, epochs=2).train()
    last = tmp_path / "epoch_2.pth"
    last.write_bytes(last.read_bytes()[:300])
    lines: list[str] = []
    monkeypatch.setattr(
        "uniadapter.engine.runner.resume.print_log",
        lambda text, *args, **kwargs: lines.append(text),
    )
    runner = toy_runner(tmp_path, epochs=3, resume=True)
    runner.train()
    assert "epoch_2.pth" in lines[0]
    assert "epoch_1.pth" in lines[0]
    assert runner.iter == 6
    assert load(last)["meta"]["epoch"] == 2


def test_no_usable_checkpoint_is_an_error(tmp_path: Path):
    toy_runner(tmp_path, epochs=2).train()
    for path in tmp_path.glob("*.pth"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)None of the 2 checkpoint.*epoch_2.*epoch_1"):
        toy_runner(tmp_path, resume=True).train()


def test_resume_in_an_empty_directory_starts_from_scratch(tmp_path: Path):
    runner = toy_runner(tmp_path, epochs=1, resume=True)
    runner.train()
    assert runner.iter == 2


def test_a_damaged_file_that_was_asked_for_is_an_error(tmp_path: Path):
    (tmp_path / "mine.pth").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"mine\.pth is .*corrupt"):
        toy_runner(tmp_path, resume=True, load_from=str(tmp_path / "mine.pth")).train()
    with pytest.raises(FileNotFoundError, match=r"gone\.pth does not exist"):
        toy_runner(tmp_path, resume=True, load_from=str(tmp_path / "gone.pth")).train()


def test_weights_alone_cannot_be_resumed_from(tmp_path: Path):
    torch.save({"state_dict": ToyModel().state_dict()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth has no meta.*Use load_from"):
        toy_runner(tmp_path, resume=True, load_from=str(tmp_path / "weights.pth")).train()


@pytest.mark.parametrize("resume", [True, False])
def test_missing_trained_tensors_are_an_error(tmp_path: Path, resume: bool):
    toy_runner(tmp_path, epochs=1).train()
    path = tmp_path / "epoch_1.pth"
    checkpoint = load(path)
    del checkpoint["state_dict"]["head.weight"]
    torch.save(checkpoint, path)
    with pytest.raises(
        ValueError,
        match=r"epoch_1\.pth does not fit .*\n  missing .*: head\.weight",
    ):
        toy_runner(tmp_path, resume=resume, load_from=str(path)).train()


def test_safetensors_of_another_model_are_not_called_corrupt(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file({"head.weight": torch.zeros(7, 7)}, path)
    with pytest.raises(ValueError, match=r"other\.safetensors does not fit the model"):
        toy_runner(tmp_path, load_from=str(path)).train()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"other\.safetensors is damaged"):
        toy_runner(tmp_path, load_from=str(path)).train()


@pytest.mark.parametrize("content", [[1], {"state_dict": [1]}, {"state_dict": {1: 2}}, "text"])
def test_weights_that_are_none(content: object, tmp_path: Path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth"):
        toy_runner(tmp_path, load_from=str(tmp_path / "a.pth")).train()


def test_other_shapes_and_unknown_tensors_are_an_error(tmp_path: Path):
    toy_runner(tmp_path, epochs=1).train()
    path = tmp_path / "epoch_1.pth"
    checkpoint = load(path)
    checkpoint["state_dict"]["queue"] = torch.zeros(5)
    checkpoint["state_dict"]["extra"] = torch.zeros(5)
    torch.save(checkpoint, path)
    message = r"not in the model: extra\n  queue: file \(5,\), model \(3,\)"
    with pytest.raises(ValueError, match=message):
        toy_runner(tmp_path, resume=True).train()


def test_another_backbone_is_an_error(tmp_path: Path):
    toy_runner(tmp_path, epochs=1, model={"pretrained": "one"}).train()
    other = toy_runner(tmp_path, epochs=2, model={"pretrained": "two"}, resume=True)
    other.model.visual.weight.data.add_(1)
    with pytest.raises(ValueError, match=r"backbone with other weights.*pretrained='two'"):
        other.train()


def test_an_unsaveable_entry_of_the_message_hub_is_named_and_skipped(tmp_path: Path, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(
        checkpoint_content, "print_log", lambda text, *args, **kwargs: lines.append(text)
    )
    runner = toy_runner(tmp_path, epochs=1)
    runner.message_hub.update_info("odd", object())
    runner.train()
    assert "'odd' is not saved" in lines[0]
    assert "odd" not in load(tmp_path / "epoch_1.pth")["message_hub"]["runtime_info"]
