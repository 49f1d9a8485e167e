"""Files of UniPT on CLIP-ViL and of its start, in both directions, and CLIP's ResNets."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from safetensors.torch import load_file

from tests.clip_vil_helpers import ANSWERS, small_cfg
from tests.helpers import ROOT, draws
from tests.test_models import clip_vil_reference as reference
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.checkpoints.layouts import export_state
from uniadapter.checkpoints.layouts.clip_vil import (
    CLIP_VIL,
    CLIP_VIL_START,
    match_head,
    normalise_answer,
    read_clip_resnet,
)
from uniadapter.checkpoints.layouts.fit import fit_to_model
from uniadapter.checkpoints.layouts.keys import map_keys
from uniadapter.models.backbones import ClipResNet
from uniadapter.models.build import build_model

pytest.importorskip("transformers")
TABLE = ["2", "a", "gray", "no", "red ball", "yes", "zebra"]
BERT = "lxrt_encoder.model.bert."


@pytest.fixture
def config() -> Config:
    return Config({"model": small_cfg()})


@pytest.fixture
def best() -> reference.State:
    return reference.draw_state(torch.Generator().manual_seed(1))


def start_of(best: reference.State) -> reference.State:
    """A start file: without side network, its head over the answers of pre-training."""
    state = {}
    for name, tensor in best.items():
        if ".side_" in name:
            continue
        name = name.replace(reference.BERT, "bert.").replace("module.", "answer_head.")
        state[name] = tensor
    weight = state["answer_head.logit_fc.3.weight"]
    generator = torch.Generator().manual_seed(2)
    state["answer_head.logit_fc.3.weight"] = torch.randn(
        len(TABLE), weight.shape[1], generator=generator
    )
    state["answer_head.logit_fc.3.bias"] = torch.randn(len(TABLE), generator=generator)
    state["cls.predictions.bias"] = torch.zeros(3)
    state["obj_predict_head.transform.dense.weight"] = torch.zeros(3, 3)
    return state


def write_table(path: Path, answers: list[str]) -> Path:
    path.write_text(json.dumps([{"ans": answer, "dsets": ["vqa"]} for answer in answers]))
    return path


def test_every_key_of_the_side_network() -> None:
    """62 tensors, each under one name."""
    state = reference.draw_state(torch.Generator().manual_seed(0))
    names = [name.removeprefix("module.") for name in state if ".side_" in name]
    ours = [found[0] for name in names if (found := CLIP_VIL.to_ours(name))]
    assert len(names) == len(set(ours)) == 62
    assert all(CLIP_VIL.to_theirs(own) == [name] for own, name in zip(ours, names, strict=True))
    guide = f"{BERT}encoder.side_downsamples_l.11.0.weight"
    assert CLIP_VIL.to_ours(guide)[0] == "adapter.sides.fusion.down_guide.linear.weight"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("encoder.visn_fc.box_fc.weight", "boxes"),
        ("encoder.visn_fc.box_layer_norm.bias", "boxes"),
        ("encoder.visual_model.visual.attnpool.q_proj.weight", "attention pool"),
        ("encoder.visual_model.logit_scale", "does not run"),
        ("encoder.visual_model.transformer.resblocks.0.ln_1.weight", "does not run"),
        ("embeddings.position_ids", "the numbers"),
    ],
)
def test_parts_that_are_left(name: str, reason: str) -> None:
    """In both files, by those very names."""
    for layout, bert in ((CLIP_VIL, BERT), (CLIP_VIL_START, "bert.")):
        assert reason in (layout.why_left(f"{bert}{name}") or "")
        assert not layout.knows(f"{bert}{name.replace('.', '_')}")
        assert not layout.knows(f"x{bert}{name}")


def test_numbers_of_places_may_be_in_the_file(
    tmp_path: Path, config: Config, best: reference.State
) -> None:
    """Old versions of transformers kept them among the weights."""
    best[f"{reference.BERT}embeddings.position_ids"] = torch.arange(24)[None]
    torch.save(best, tmp_path / "BEST.pth")
    own = tmp_path / "own.safetensors"
    report = convert_checkpoint(tmp_path / "BEST.pth", own, config, "clip-vil")
    assert f"{BERT}embeddings.position_ids" in report.left


def test_every_key_at_full_width() -> None:
    config = Config.fromfile(str(ROOT / "configs/unipt/clip_vil_vqav2.py"))
    with torch.device("meta"):
        model = build_model(config.model.to_dict())
        source = {
            name.removeprefix("module."): torch.empty(
                shape, dtype=torch.long if name.endswith("tracked") else torch.float
            )
            for name, shape in reference.published_shapes(3129).items()
        }
    state, report = map_keys(source, CLIP_VIL, "BEST.pth")
    state = fit_to_model(state, report, model, "BEST.pth")
    assert set(state) == set(model.state_dict())
    assert set(report.used) | set(report.left) == set(source)
    assert len(report.used) == len(state)
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert sum(state[name].numel() for name in trained) == 10_730_170
    # Back: every used key again, under the prefix of the authors' wrapper.
    back, written = export_state(state, "clip-vil")
    assert set(back) == {f"module.{name}" for name in report.used}
    assert not written.left


def test_there_and_back(tmp_path: Path, config: Config, best: reference.State) -> None:
    torch.save(best, tmp_path / "BEST.pth")
    own, back = tmp_path / "own.safetensors", tmp_path / "back.pth"
    report = convert_checkpoint(tmp_path / "BEST.pth", own, config, "clip-vil")
    assert {f"module.{name}" for name in (*report.used, *report.left)} == set(best)
    assert len(set(report.used.values())) == len(report.used)
    assert {name.split(".")[-2] for name in report.left} >= {"box_fc", "box_layer_norm"}
    model = init_model(config, str(own))
    assert set(load_file(own)) == set(model.state_dict())
    convert_checkpoint(own, back, config, None, "clip-vil")
    again = torch.load(back, weights_only=True)
    assert set(again) == {f"module.{name}" for name in report.used}
    assert all(torch.equal(tensor, best[name]) for name, tensor in again.items())


def test_files_of_before_the_counters(
    tmp_path: Path, config: Config, best: reference.State
) -> None:
    """Counters of batch norm are of no use; a file without them is whole."""
    old = {name: t for name, t in best.items() if not name.endswith("num_batches_tracked")}
    torch.save({"model": old}, tmp_path / "BEST.pth")
    convert_checkpoint(tmp_path / "BEST.pth", tmp_path / "a.safetensors", config, "clip-vil")
    found = load_file(tmp_path / "a.safetensors")
    assert found["visual.model.bn1.num_batches_tracked"] == 0


def test_the_start_has_the_heads_rows(
    tmp_path: Path, config: Config, best: reference.State
) -> None:
    start = start_of(best)
    torch.save({f"module.{name}": t for name, t in start.items()}, tmp_path / "start.pth")
    table, own = write_table(tmp_path / "all_ans.json", TABLE), tmp_path / "own.safetensors"
    report = convert_checkpoint(
        tmp_path / "start.pth", own, config, "clip-vil-start", answers=table
    )
    assert set(report.used) | set(report.left) == set(start)
    assert "5 of 5 answers have a row in the head; the others start at 0" in report.notes
    found = load_file(own)
    assert not any(name.startswith("adapter.") for name in found)
    rows = [TABLE.index(a) for a in ("yes", "no", "2", "red ball", "gray")]
    for kind in ("weight", "bias"):
        source = start[f"answer_head.logit_fc.3.{kind}"]
        assert torch.equal(found[f"logit_fc.3.{kind}"], source[rows])
        assert torch.equal(found[f"logit_fc.0.{kind}"], start[f"answer_head.logit_fc.0.{kind}"])
    # It is what a run starts from: everything frozen, and the head.
    config.model.pretrained = str(own)
    model = init_model(config)
    assert torch.equal(model.logit_fc[3].weight, found["logit_fc.3.weight"])


def test_unmatched_rows_are_zero(best: reference.State) -> None:
    state, found = match_head(start_of(best), TABLE, ["Zebra.", "unicorn", "the two", ""], "f")
    weight, bias = (state[f"answer_head.logit_fc.3.{kind}"] for kind in ("weight", "bias"))
    assert found == 2
    source = start_of(best)
    assert torch.equal(weight[0], source["answer_head.logit_fc.3.weight"][6])
    assert torch.equal(bias[2], source["answer_head.logit_fc.3.bias"][0])
    assert not weight[[1, 3]].any()
    assert not bias[[1, 3]].any()


@pytest.mark.parametrize(
    ("answer", "want"),
    [
        ("", ""),
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("yes..", "yes."),
        ("dog .", "dog"),
        ("a dog", "dog"),
        ("an a dog", "a dog"),
        ("a an the dog", "dog"),
        ("the a dog", "a dog"),
        ("a  dog", "dog"),
        ("a man", "man"),
        ("The Woman.", "woman"),
        ("an", "an"),
        ("a", "a"),
        ("a.", "a"),
        ("ten", "10"),
        ("the one", "1"),
        ("eleven", "eleven"),
        ("a Grey", "gray"),
        ("grey cat", "grey cat"),
        (" a dog", " a dog"),
    ],
)
def test_answers_as_pre_training_writes_them(answer: str, want: str) -> None:
    assert normalise_answer(answer) == want


def _plainly(answer: str) -> str:
    """The same rules, letter by letter."""
    if len(answer) == 0:
        return answer
    text = answer.lower()
    if text[-1] == ".":
        text = text[: len(text) - 1].strip()
    if text[:2] == "a ":
        text = text[2:].strip()
    if text[:3] == "an ":
        text = text[3:].strip()
    if text[:4] == "the ":
        text = text[4:].strip()
    if text in ("a man", "the man"):
        return "man"
    if text in ("a woman", "the woman"):
        return "woman"
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for index in range(10):
        if text == numbers[index]:
            return str(index + 1)
    return "gray" if text == "grey" else text


PARTS = ["a ", "an ", "the ", "A ", "one", "ten", "grey", "man", "dog", ".", " ", "woman", "x"]


@settings(max_examples=draws(40))
@given(st.lists(st.sampled_from(PARTS), max_size=5).map("".join) | st.text(max_size=6))
def test_any_answer(answer: str) -> None:
    assert normalise_answer(answer) == _plainly(answer)


def test_bad_starts(tmp_path: Path, config: Config, best: reference.State) -> None:
    start = start_of(best)
    torch.save(start, tmp_path / "start.pth")
    table = write_table(tmp_path / "all_ans.json", TABLE)

    def convert(file: Any = "start.pth", answers: Any = table, source: str = "clip-vil-start"):
        return convert_checkpoint(
            tmp_path / file, tmp_path / "o.safetensors", config, source, answers=answers
        )

    with pytest.raises(ValueError, match=r"needs --answers, LXMERT's data/lxmert/all_ans\.json"):
        convert(answers=None)
    with pytest.raises(ValueError, match="it needs --from clip-vil-start, not 'clip-vil'"):
        convert(source="clip-vil")
    with pytest.raises(FileNotFoundError, match=r"gone\.json does not exist"):
        convert(answers=tmp_path / "gone.json")
    for content, message in (
        ("{}", 'a list of objects with a text under "ans"'),
        ('[{"ans": 1}]', 'a list of objects with a text under "ans"'),
        ("[", "is not valid JSON"),
    ):
        table.write_text(content)
        with pytest.raises(ValueError, match=message):
            convert()
    write_table(table, [*TABLE, "2"])
    with pytest.raises(ValueError, match="the answer '2' stands in it twice"):
        convert()
    write_table(table, TABLE[1:])
    with pytest.raises(ValueError, match=r"has shape \(7, 16\), and the table of its answers 6"):
        convert()
    write_table(table, TABLE)
    del start["answer_head.logit_fc.3.weight"]
    torch.save(start, tmp_path / "start.pth")
    with pytest.raises(ValueError, match=r"lacks answer_head\.logit_fc\.3\.weight"):
        convert()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "side_gate_layer_l.weight"}, r"missing.*sides\.fusion\.gate\.weight"),
        ({"drop": "layer3.0.bn2.running_var"}, r"missing.*layer3\.0\.bn2\.running_var"),
        ({"add": "encoder.layer.3.wings.weight"}, "1 keys that are no part of the layout"),
        ({"add": "encoder.layer.12.output.dense.weight"}, r"layer\.12\.output\.dense\.weight"),
        ({"shape": "visual_pos.x_position_embedding.weight"}, r"row_embed\.weight: file \(3, 3\)"),
    ],
)
def test_bad_checkpoints(
    tmp_path: Path, config: Config, best: reference.State, change: dict[str, str], message: str
) -> None:
    kind, name = next(iter(change.items()))
    key = f"{reference.BERT}{name}" if kind == "add" else next(k for k in best if name in k)
    if kind == "drop":
        del best[key]
    else:
        best[key] = torch.zeros(3, 3)
    torch.save(best, tmp_path / "BEST.pth")
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(tmp_path / "BEST.pth", tmp_path / "o.safetensors", config, "clip-vil")


@pytest.mark.parametrize("way", ["program", "plain"])
def test_clips_own_resnets(tmp_path: Path, way: str) -> None:
    """Half precision, the attention pool and the text tower beside it."""
    torch.manual_seed(0)
    net = ClipResNet({"depths": (1, 1, 1, 1), "width": 4})
    whole = torch.nn.Module()
    whole.visual = net
    net.attnpool = torch.nn.Linear(2, 2)
    whole.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
    whole.half()
    if way == "plain":
        torch.save(whole.state_dict(), tmp_path / "clip.pt")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace_module(_Holder(whole), {"forward": torch.zeros(1)})
            traced.inner.save(str(tmp_path / "clip.pt"))
    state = read_clip_resnet(tmp_path / "clip.pt")
    other = ClipResNet({"depths": (1, 1, 1, 1), "width": 4})
    other.load_state_dict(state)
    assert all(tensor.dtype != torch.float16 for tensor in state.values())
    assert all(
        torch.equal(a.float(), whole.visual.state_dict()[n].float()) for n, a in state.items()
    )
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "vit.pt")
    with pytest.raises(ValueError, match="no part of the layout 'clip-resnet'"):
        read_clip_resnet(tmp_path / "vit.pt")


class _Holder(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def test_answers_of_the_helpers_are_drawn_from_the_table() -> None:
    assert sum(normalise_answer(answer) in TABLE for answer in ANSWERS) == 5
