"""VL-Adapter's files: every name has a place, the formulas' numbers come out, and the way back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.vl_helpers import KINDS, encode, inputs, logits_of, visual, vl, vl_cfg
from tests.vl_released import METHODS, Released
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.models.execution import Words

TASKS = ["vqa", "nlvr"]
CASES = [(kind, method) for kind in KINDS for method in METHODS]
# Every method once, and the other language model in the longer tests.
PARAMS = [
    pytest.param(*case, marks=[pytest.mark.deep] if (index + index // len(METHODS)) % 2 else [])
    for index, case in enumerate(CASES)
]


def config_of(released: Released, **options: Any) -> Config:
    adapter = METHODS[released.method]
    cfg = vl_cfg(released.kind, tasks=released.tasks, adapter=adapter, **options)
    return Config({"model": cfg})


def saved(released: Released, folder: Path) -> Path:
    path = folder / "LAST.pth"
    torch.save(released.written(), path)
    return path


@pytest.mark.parametrize(("kind", "method"), PARAMS)
def test_a_file_becomes_the_same_model_and_back(kind: str, method: str, tmp_path: Path) -> None:
    released = Released(kind, method, TASKS, seed=CASES.index((kind, method)))
    path, out, config = saved(released, tmp_path), tmp_path / "own.safetensors", config_of(released)
    report = convert_checkpoint(path, out, config, source="vl-adapter")
    assert not report.left
    names = {name.partition("[")[0] for name in report.used}
    assert names == set(released.state)
    model = init_model(config, out, device="cpu")
    given, words = inputs([2, 4], 2, extra=1), torch.randint(3, 50, (2, 3))
    for task in TASKS:
        handles = released.hook(task)
        seen = visual(model, released.hf, given["features"])
        ids, mask = given["input_ids"], given["attention_mask"]
        with torch.no_grad():
            states = encode(released.hf, ids, mask, seen, released.prompt(task))
            want = logits_of(released.hf, *states, words, released.prompt(task, ""))
            with model.tasks.set(task):
                decoder = model.role("decoder")
                got, _ = decoder.logits(Words(words), decoder.memory(*model.encode(**given)))
        assert_close(got, want, atol=2e-5, rtol=1e-4)
        for handle in handles:
            handle.remove()
    back = tmp_path / "back.pth"
    convert_checkpoint(out, back, config, target="vl-adapter")
    again = torch.load(back, weights_only=True)
    assert again.keys() == released.written().keys()
    for name, tensor in released.written().items():
        assert torch.equal(again[name], tensor), name


def test_one_task_is_read_as_the_config_says(tmp_path: Path) -> None:
    for method in ("single", "multiple", "lora_multiple"):
        released = Released("Bart", method, ["vqa"])
        path, out = saved(released, tmp_path), tmp_path / f"{method}.safetensors"
        convert_checkpoint(path, out, config_of(released), source="vl-adapter")
        assert any("adapter" in name for name in load_file(out))


def test_a_file_without_its_prefix_is_read_too(tmp_path: Path) -> None:
    released = Released("T5", "half", TASKS)
    torch.save(released.state, tmp_path / "bare.pth")
    out = tmp_path / "own.safetensors"
    report = convert_checkpoint(tmp_path / "bare.pth", out, config_of(released), "vl-adapter")
    assert not report.left


def test_names_of_one_tensor_must_agree(tmp_path: Path) -> None:
    for name in (
        "lm_head.weight",
        "model.encoder.visual_embedding.obj_order_embedding.weight",
        "model.decoder.embed_tokens.weight",
    ):
        released = Released("Bart", "single", TASKS)
        released.state[name][-1] += 1
        with pytest.raises(ValueError, match="two names of one tensor but hold different values"):
            convert_checkpoint(
                saved(released, tmp_path),
                tmp_path / "own.safetensors",
                config_of(released),
                source="vl-adapter",
            )


@pytest.mark.parametrize(
    ("method", "adapter", "said"),
    [
        ("half", METHODS["single"], r"'share': \{'down': \[\], 'up': \['task'\]\}"),
        ("single", METHODS["multiple"], r"'share': \{'down': \['task'\], 'up': \['task'\]\}"),
        ("phm", METHODS["single"], "'projection': .'type': 'phm', 'k': 2"),
        ("low_rank", METHODS["phm_multiple"], "'type': 'low_rank', 'rank': 2"),
        ("phm_position", METHODS["phm_multiple"], "'rule': 'position'"),
        ("single", {"type": "VLAdapter", "bottleneck": 8}, "'bottleneck': 4"),
        ("lora_multiple", METHODS["lora"], "'type': 'LoRA', 'share': ..}"),
        ("single", None, "'type': 'VLAdapter'.*has none"),
        ("none", METHODS["single"], "holds no method"),
        ("adapter_lora", METHODS["single"], "'type': 'LoRA'"),
    ],
)
def test_another_method_is_refused(method: str, adapter: Any, said: str, tmp_path: Path) -> None:
    released = Released("Bart", method, TASKS)
    config = Config({"model": vl_cfg("Bart", tasks=TASKS, adapter=adapter)})
    with pytest.raises(ValueError, match=said):
        convert_checkpoint(
            saved(released, tmp_path), tmp_path / "own.safetensors", config, source="vl-adapter"
        )


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("single", "model.decoder.layers.1.enc_attn_adapter.adapters.*.up_sampler.bias"),
        ("half", "model.encoder.layers.1.ff_adapter.adapters.*.up_sampler.weight"),
        ("lora", "model.encoder.layers.0.self_attn.v_proj.lora_Bs.*"),
        ("prompt", "model.encoder.prompt_modules.prompts.*.prefix_embedding.3.bias"),
    ],
)
def test_what_tasks_share_must_agree(method: str, name: str, tmp_path: Path) -> None:
    """One tensor of one task that differs is named."""
    released, (one, two) = Released("Bart", method, TASKS), (name.replace("*", t) for t in TASKS)
    released.state[two].view(-1)[-1] += 1
    with pytest.raises(ValueError, match=f"{re.escape(one)} and {re.escape(two)} differ"):
        convert_checkpoint(
            saved(released, tmp_path),
            tmp_path / "own.safetensors",
            config_of(released),
            source="vl-adapter",
        )


def exported(adapter: Any, tasks: list[str], folder: Path) -> tuple[Path, Config, Any]:
    """A released file of a model of ours, its config, and the model."""
    model = vl("Bart", 3, tasks=tasks, adapter=adapter)
    config = Config({"model": vl_cfg("Bart", tasks=tasks, adapter=adapter)})
    torch.save(model.state_dict(), folder / "own.pth")
    convert_checkpoint(folder / "own.pth", folder / "back.pth", config, target="vl-adapter")
    return folder / "back.pth", config, model


@pytest.mark.parametrize(
    ("adapter", "tasks"),
    [
        # Whose a PHM's rules are shows where tasks could have their own, and else not.
        ({**METHODS["phm_position"], "share": METHODS["single"].get("share")}, TASKS),
        (METHODS["phm_position"], TASKS[:1]),
        ({**METHODS["phm_position"], "share": METHODS["half"]["share"]}, TASKS),
    ],
)
def test_what_we_write_we_read(adapter: Any, tasks: list[str], tmp_path: Path) -> None:
    path, config, model = exported(adapter, tasks, tmp_path)
    convert_checkpoint(path, tmp_path / "own.safetensors", config, source="vl-adapter")
    found = load_file(tmp_path / "own.safetensors")
    assert found.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("adapter", "left"),
    [
        ({**METHODS["single"], "share": {"down": ["task"], "up": ["layer", "task"]}}, "adapter.up"),
        ({**METHODS["lora"], "targets": ["q", "k"]}, "adapter.layers.0_decoder_cross_k"),
        ({"type": "BitFit"}, "adapter.shifts"),
    ],
)
def test_half_an_adapter_is_not_written(adapter: Any, left: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"--to vl-adapter: .* has no place for .*{left}"):
        exported(adapter, TASKS, tmp_path)
    assert not (tmp_path / "back.pth").exists()


def test_other_files_and_configs_are_refused(tmp_path: Path) -> None:
    released, out = Released("Bart", "single", TASKS), tmp_path / "own.safetensors"
    path = saved(released, tmp_path)
    with pytest.raises(ValueError, match=r"set model.text.new_words=12"):
        convert_checkpoint(path, out, config_of(released, text={"new_words": 9}), "vl-adapter")
    seq2seq = Config({"model": {"type": "Seq2SeqModel", "text": vl_cfg("Bart")["text"]}})
    with pytest.raises(ValueError, match="needs --config of a model with type='VLSeq2Seq'"):
        convert_checkpoint(path, out, seq2seq, source="vl-adapter")
    with pytest.raises(ValueError, match="does not fit the model"):
        convert_checkpoint(
            path,
            out,
            Config({"model": vl_cfg("T5", tasks=TASKS, adapter=METHODS["single"])}),
            "vl-adapter",
        )
    torch.save({"module.other": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"has neither 'model.shared.weight' nor"):
        convert_checkpoint(path, out, config_of(released), source="vl-adapter")
    released.state["final_logits_bias"][0, -1] = 1.0
    with pytest.raises(ValueError, match="of words behind the table's 40 is not 0"):
        convert_checkpoint(saved(released, tmp_path), out, config_of(released), "vl-adapter")
    del released.state["final_logits_bias"]
    released.state["model.encoder.strange"] = torch.zeros(1)
    with pytest.raises(ValueError, match="1 keys that are no part of the layout 'vl-adapter'"):
        convert_checkpoint(saved(released, tmp_path), out, config_of(released), "vl-adapter")
