from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers import load_tool

TOOL = load_tool("analysis_tools/compare_transformers.py")
# Importable once the tool has put its folder on the path.
from hf_bench.rerank import measure_rerank  # noqa: E402
from hf_bench.training import make_alone, make_trainers, measure_training, profile_training  # noqa: E402

IMAGE, VIDEO = "configs/tiny/coco_r32.py", "configs/tiny/msrvtt_r32.py"
QUESTION = "configs/tiny/vqav2_r32.py"


@pytest.mark.parametrize(
    ("config", "frames", "chunk"), [(IMAGE, 1, None), (VIDEO, 3, 2), (VIDEO, 2, 5)]
)
def test_both_give_the_same_scores(config: str, frames: int, chunk: int | None) -> None:
    row = measure_rerank(config, frames, texts=7, repeats=1, seed=frames, chunk=chunk)
    assert row["max_error"] < 1e-5
    assert row["score_std"] > 100 * row["max_error"]
    assert row["visual_tokens"] == frames * 37
    assert row["ratio"] == pytest.approx(row["theirs"] / row["ours"])
    assert row["chunk"] == (chunk or row["chunk"])


def _step(*options: str) -> Any:
    return TOOL.training_step(TOOL.parse_args(["--question-config", QUESTION, *options]))


def test_both_train_the_same() -> None:
    row = measure_training(_step("--rank", "4", "--batch-size", "3"), rounds=1, warmup=0)
    assert row["loss_ours"] == pytest.approx(row["loss_theirs"], rel=1e-5)
    assert row["trainable"]["ours"] == row["trainable"]["theirs"]


@pytest.mark.parametrize("side", TOOL.SIDES)
def test_one_side_stands_alone(side: str) -> None:
    step = _step("--rank", "4", "--batch-size", "3")
    both, alone = make_trainers(step)[side], make_alone(step, side)
    assert [p.shape for p in alone.trained] == [p.shape for p in both.trained]
    alone.step()


def test_the_gradients_agree() -> None:
    """LoRA's B of a text matrix has the gradient of ours, where A is the same."""
    step = _step("--rank", "4", "--batch-size", "2", "--no-dropout")
    trainers = make_trainers(step)
    ours = dict(trainers["ours"].model.named_parameters())
    theirs = dict(trainers["theirs"].model.named_parameters())
    old = "base_model.model.text_decoder.bert.encoder.layer.3.crossattention.self.query"
    new = "adapter.layers.3_decoder_cross_q.lora_B.default.weight"
    first = new.replace("lora_B", "lora_A")
    with torch.no_grad():
        theirs[f"{old}.lora_A.default.weight"].copy_(ours[first])
    for trainer in trainers.values():
        trainer.phases()["losses"]()
        trainer.loss.backward()
    expected = theirs[f"{old}.lora_B.default.weight"].grad
    assert expected.abs().max() > 0
    torch.testing.assert_close(ours[new].grad, expected, rtol=1e-3, atol=1e-6)


def test_a_profile_names_phases_and_operations() -> None:
    profiles = [profile_training(_step(), side, steps=1, top=3) for side in TOOL.SIDES]
    text = TOOL.profile_as_table(profiles)
    assert all(f"{side}: " in text for side in TOOL.SIDES)
    for result in profiles:
        assert len(result["operations"]) == 3
        assert {"losses", "backward", "optimizer"} == set(result["seconds"])


def test_rows_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOOL, "peak_alone", lambda *_: {"peak_gib": 1.0, "built_gib": 0.5})
    args = ["--rows", "training", "--question-config", QUESTION, "--repeats", "1"]
    results = TOOL.measure(TOOL.parse_args(args), args)
    text = TOOL.as_table(results)
    assert "VQA step with LoRA" in text
    assert "peak GiB 1.00 and 1.00" in text


@pytest.mark.parametrize(
    ("options", "unread"),
    [
        (["--rows", "image", "--rank", "16"], "--rank"),
        (["--rows", "image", "--frames", "16"], "--frames"),
        (["--rows", "training", "--chunk", "8"], "--chunk"),
        (["--top", "12"], "--top"),
        (["--profile", "--rows", "training"], "--rows"),
        (["--profile", "--warmup", "1"], "--warmup"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(
    options: list[str], unread: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        TOOL.parse_args(options)
    assert f"does not read {unread}: leave it out" in capsys.readouterr().err
    TOOL.parse_args(["--profile", "--top", "3", "--rank", "4"])
    TOOL.parse_args(
        ["--rows", "image", "training", "--chunk", "8", "--rank", "4", "--alone", "ours"]
    )


def test_wrong_input_is_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        TOOL.parse_args(["--rank", "0"])
    assert "--rank: 0 must be at least 1" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="name a retrieval config"):
        TOOL.main(["--rows", "image", "--image-config", QUESTION])
