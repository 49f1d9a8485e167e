"""What a method that reads taps is given, and what it leaves alone: two side networks in small."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import one_seed, randomize, tiny_batch, tiny_model
from tests.test_models.test_adapters import contract_models
from uniadapter.models import AdaptedBackbone, Adapter
from uniadapter.models.adapters.unipt import SideNet
from uniadapter.models.execution import Words
from uniadapter.models.generation import generate
from uniadapter.models.taps import Call, Recorder, Taps, in_form_of
from uniadapter.registry import MODELS

ROLES = ("visual", "text", "fusion")


class Guided(Adapter):
    """UniPT's token form: the last tap guides, Y takes the place of the tower's states."""

    def __init__(self, places: Any, roles: Any = ROLES) -> None:
        super().__init__(places, {"roles": list(roles)})
        self.tapped = tuple(role for role in places.roles() if role in roles)
        self.sides = nn.ModuleDict()
        for role in self.tapped:
            widths = places.widths(role)
            # The embedding's tap and those of all layers but the last.
            self.sides[role] = SideNet(widths, widths[-1], 4, out_dim=widths[-1])
        # What the last run of a role was given.
        self.seen: dict[str, tuple[Any, Taps, Call]] = {}

    def run(self, role: str, tower: Any, call: Call) -> torch.Tensor:
        taps = call.taps()
        self.seen[role] = (tower, taps, call)
        return self.sides[role](taps.hidden, mask=taps.mask)


class Ladder(Adapter):
    """Ladder side-tuning: a narrow stream of its own, into which every tap is mixed by a gate."""

    def __init__(self, places: Any, width: int = 4) -> None:
        super().__init__(places, {"width": width})
        self.tapped = tuple(role for role in places.roles() if role != "decoder")
        self.down, self.blocks, self.up = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.gates = nn.ParameterDict()
        for role in self.tapped:
            widths = places.widths(role)
            taps = [widths[0], *widths]
            self.down[role] = nn.ModuleList(nn.Linear(size, width) for size in taps)
            blocks = (
                nn.TransformerEncoderLayer(width, 1, 8, 0.0, batch_first=True) for _ in widths
            )
            self.blocks[role] = nn.ModuleList(blocks)
            self.gates[role] = nn.Parameter(torch.zeros(len(widths)))
            self.up[role] = nn.Linear(width, widths[-1])

    def run(self, role: str, tower: Any, call: Call) -> torch.Tensor:
        taps, shares = call.taps(), (self.gates[role] / 0.1).sigmoid()
        first, *down = self.down[role]
        hidden = None if taps.mask is None else taps.mask == 0
        s = first(taps.hidden[0])
        stages = zip(shares, down, self.blocks[role], taps.hidden[1:], strict=True)
        for share, project, block, tap in stages:
            s = block(share * s + (1 - share) * project(tap), src_key_padding_mask=hidden)
        return self.up[role](s)


def build(method: type, **options: Any) -> Any:
    """BLIP for retrieval, with dropout in its frozen text tower."""
    text = {**tiny_retrieval_cfg()["text"], "dropout": 0.3, "attention_dropout": 0.3}
    return tiny_model(adapter={"type": method}, text=text, **options)


def loss(model: Any) -> torch.Tensor:
    with one_seed(3):
        return sum(model.train()(**tiny_batch(), mode="loss").values())


@pytest.mark.parametrize("method", [Guided, Ladder])
def test_a_step_goes_through_no_tower(method):
    model = build(method)
    loss(model).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("adapter."):
            assert parameter.grad is not None, name
            # Softmax over taps is the same for any bias of their gate.
            assert parameter.grad.abs().sum() > 0 or "gate" in name, name
        else:
            tower = name.startswith(("visual.", "text."))
            assert (parameter.grad is None) == tower, name
    for role in ROLES if method is Guided else ():
        _, taps, _ = model.adapter.seen[role]
        assert not any(state.requires_grad for state in (*taps.hidden, taps.out))


def _by_hand(role: str, call: Call, model: Any, batch: dict[str, Any]) -> list[torch.Tensor]:
    """The states of a role's real tokens, images layer by layer, each text alone."""
    if role == "visual":
        states = [model.visual.embed(batch["pixels"].flatten(0, 1))]
        for layer in model.visual.layers:
            states.append(layer(states[-1]))
        return states
    reads = call.reads()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    tower, states = model.text, []
    for row in range(len(ids)):
        words = ids[row : row + 1, : int(mask[row].sum())]
        if role == "fusion":
            words = words.clone()
            words[:, 0] = tower.vocab_size - 1
        memory = None if reads is None else tower.memory(reads.states[row : row + 1])
        taps = Recorder(tower.encoder.layer)(lambda w=words, m=memory: tower(w, None, m))
        states.append(taps.hidden)
    return [torch.cat([one[i][0] for one in states]) for i in range(len(states[0]))]


@torch.no_grad()
def test_taps_are_the_states_of_the_plain_tower_at_every_real_token():
    model, batch = build(Guided).eval(), tiny_batch()
    tokens, _, frames = model.encode_visual(batch["pixels"])
    texts = (batch["input_ids"], batch["attention_mask"])
    model.encode_text(*texts, class_only=True)
    model.match(*texts, tokens)
    real = batch["attention_mask"].bool()
    for role in ROLES:
        _, taps, call = model.adapter.seen[role]
        want = _by_hand(role, call, model, batch)
        assert len(taps.hidden) == len(want) == 3
        for state, expected in zip(taps.hidden, want, strict=True):
            assert_close(state if role == "visual" else state[real], expected, atol=1e-5, rtol=1e-5)
        if role != "visual":
            assert torch.equal(taps.mask, batch["attention_mask"])
    _, taps, call = model.adapter.seen["fusion"]
    assert torch.equal(call.reads().states, tokens.flatten(1, 2))


def test_pairs_of_a_step_are_rows_of_the_fusion():
    """Three pairs, a hard negative of each text and of each medium; each reads its own medium."""
    model = build(Guided)
    loss(model)
    _, taps, call = model.adapter.seen["fusion"]
    assert {len(state) for state in taps.hidden} == {len(taps.mask)} == {9}
    read = call.reads()
    assert read.states.shape == (9, 2 * 5, 32)
    # By it the loss behind the fusion may reach the visual side network.
    assert read.states.requires_grad
    assert_close(read.states[:3], read.states[[0, 1, 2]])
    assert len({tuple(state.flatten().tolist()) for state in read.states}) == 3


def test_one_visual_pass_serves_both_models_and_each_has_its_side_weights():
    model = build(Guided, momentum=0.5)
    randomize(model)
    passes = []
    model.visual.layers[0].register_forward_hook(lambda *_: passes.append(1))
    loss(model).backward()
    assert len(passes) == 1
    # The averages' features are those of a model whose side weights are the averages.
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, average in other.ema.averages().items():
            other.get_parameter(name).copy_(average)
    assert any(name.startswith("adapter.sides.") for name in other.ema.names)
    batch = tiny_batch()
    inputs = (batch["pixels"], batch["input_ids"], batch["attention_mask"])
    with torch.no_grad():
        got = model.ema.call(model, model.features, *inputs)
        assert_close(got, other.eval().features(*inputs))
        assert not torch.allclose(got[0], model.eval().features(*inputs)[0])


def test_dropout_of_frozen_layers_is_off_and_their_mode_stays():
    model, batch = build(Guided).train(), tiny_batch()
    texts = (batch["input_ids"], batch["attention_mask"])
    first = model.encode_text(*texts)[0]
    assert torch.equal(model.encode_text(*texts)[0], first)
    assert all(module.training for module in model.text.modules())
    with model.adapter_disabled():
        assert not torch.equal(model.encode_text(*texts)[0], model.encode_text(*texts)[0])


@pytest.mark.parametrize("fast", [False, True])
@torch.no_grad()
def test_a_gallery_is_ranked_by_what_the_side_networks_say(fast):
    model, batch = randomize(build(Ladder, fast=fast)).eval(), tiny_batch()
    texts = (batch["input_ids"], batch["attention_mask"])
    tokens = model.encode_visual(batch["pixels"])[0]
    got = model.score_texts(tokens[0], *texts)
    want = model.match(*texts, tokens[:1].expand(3, -1, -1, -1))[:, 1]
    assert_close(got, want, atol=1e-5, rtol=1e-5)
    assert got.std() > 0


class Shifted(Adapter):
    """A decoder's states, and something of the layer before the last and of what is read."""

    tapped = ("decoder",)

    def __init__(self, places: Any) -> None:
        super().__init__(places, {})
        self.shift, self.read = (nn.Linear(size, size) for size in places.widths("decoder"))

    def run(self, role: str, tower: Any, call: Call) -> torch.Tensor:
        taps, read = call.taps(), call.reads()
        # A running mean: a word's state hangs on all words before it.
        counts = torch.arange(1, taps.out.shape[1] + 1)[:, None]
        means = self.shift(taps.hidden[1]).cumsum(1) / counts
        return taps.out + means + self.read(read.states.mean(1, keepdim=True))


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_a_decoder_writes_what_its_side_network_says(beams, tmp_path):
    contract_models.write_vocab(tmp_path / "vocab.txt")
    generation = {"num_beams": beams, "max_length": 9, "min_length": 1}
    model = contract_models.caption(
        {"type": Shifted}, tmp_path, generation=generation, prompt="a"
    ).eval()
    tokens = model.encode_frames(tiny_batch()["pixels"]).flatten(1, 2)
    decoder, prompt = model.role("decoder"), torch.tensor([model.prompt_ids()]).expand(3, -1)
    memory, eos = decoder.memory(tokens), model.tokenizer.sep_token_id
    found = generate(decoder, prompt, memory, model.generation, eos)
    whole = Words(found)
    got = decoder.logits(whole, memory)[0]
    # Word by word the same as the text at once, whatever stands behind a word.
    past, steps = None, []
    for i in range(found.shape[1]):
        logits, past = decoder.logits(Words(found[:, i : i + 1]), memory, past)
        steps.append(logits)
    assert_close(torch.cat(steps, 1), got, atol=1e-5, rtol=1e-5)
    with model.adapter_disabled():
        bare = model.role("decoder")
        assert not torch.allclose(bare.logits(whole, bare.memory(tokens))[0], got, atol=1e-3)
    if beams == 1:
        begin = prompt.shape[1]
        for row, words in enumerate(found.tolist()):
            end = words.index(eos) if eos in words[begin:] else len(words)
            for i in range(begin + 1, end):
                assert got[row, i - 1].argmax() == words[i]


@torch.no_grad()
def test_what_stands_for_a_clip_text_is_the_side_networks_state_at_its_end(tmp_path):
    model = contract_models.clip({"type": Guided}, tmp_path).eval()
    batch = tiny_batch()
    last = model.text.vocab_size - 1
    ids, mask = batch["input_ids"].clone(), batch["attention_mask"]
    ends = mask.sum(1) - 1
    ids[torch.arange(3), ends] = last
    states = model.role("text").states(Words(ids, mask))
    _, taps, _ = model.adapter.seen["text"]
    assert torch.equal(taps.place, ends)
    assert torch.equal(states[:, 0], states[torch.arange(3), 1 + ends])
    assert_close(model.encode_text(ids, mask, class_only=True)[0], states[:, :1])
    theirs = model.text.model(input_ids=ids, output_hidden_states=True).hidden_states
    for tap, state in zip(taps.hidden[:-1], theirs, strict=False):
        # Without a mask their attention may take another kernel.
        assert_close(tap[mask.bool()], state[mask.bool()])


def test_what_an_adapter_that_reads_taps_would_leave_without_effect_is_refused():
    with pytest.raises(ValueError, match="Guided reads the towers without a graph.*train_backbone"):
        build(Guided, train_backbone=True)
    with pytest.raises(ValueError, match="no role 'fusion', it has \\['visual'\\]"):
        AdaptedBackbone(contract_models.BACKBONE, {"type": Ask})
    with pytest.raises(ValueError, match="Guided reads the backbone without a graph"):
        AdaptedBackbone(contract_models.BACKBONE, {"type": Guided}, train_backbone=True)


class Ask(Adapter):
    def __init__(self, places: Any) -> None:
        super().__init__(places, {})
        places.widths("fusion")


@pytest.mark.parametrize("out_type", ["cls_token", "raw", "featmap"])
def test_a_wrapped_backbone_returns_its_own_form(out_type):
    model = AdaptedBackbone({**contract_models.BACKBONE, "out_type": out_type}, {"type": Guided})
    pixels = tiny_batch()["pixels"][:, 0]
    states = model.adapter.sides["visual"](model.taps(pixels).hidden)
    found = model(pixels)
    with model.adapter_disabled():
        own = model(pixels)
    assert isinstance(found, tuple)
    assert found[0].shape == own[0].shape
    want = {"cls_token": states[:, 0], "raw": states}
    want["featmap"] = states[:, 1:].transpose(1, 2).unflatten(2, (2, 2))
    assert_close(found[0], want[out_type])


def test_forms_that_have_no_place_for_states_are_refused():
    states = torch.zeros(2, 5, 8)
    with pytest.raises(ValueError, match="this backbone returns 2 of them"):
        in_form_of(states, (states, states))
    with pytest.raises(ValueError, match="can't stand for the backbone's"):
        in_form_of(states[0], states)
    two = AdaptedBackbone({**contract_models.BACKBONE, "out_indices": [0, 1]}, {"type": Guided})
    with pytest.raises(ValueError, match="returns 2 of them"):
        two(tiny_batch()["pixels"][:, 0])


def test_a_backbone_without_layers_to_read_says_so():
    class Own(nn.Module):
        def sites(self) -> list:
            return [(0, MODELS.get("BlipViT")().layers[0].at)]

    with pytest.raises(ValueError, match="Own has sites and no `layers`"):
        AdaptedBackbone(Own()).taps(torch.zeros(1))
