"""Prompt tuning: the perceptron's formula, tasks apart, and where tokens stand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from tests.language_helpers import TASKS, Language, bart, places_of, randomize
from tests.model_helpers import outputs, tiny_batch, tiny_model
from uniadapter.models.adapters import PromptTuning
from uniadapter.models.adapters.prompt_tuning import PromptEncoder


def test_tokens_are_a_perceptron_of_an_embedding():
    encoder = PromptEncoder(5, 16, 7, "torch")
    state = encoder.state_dict()
    inner = torch.tanh(state["embedding.weight"] @ state["inner.weight"].T + state["inner.bias"])
    assert_close(encoder(), inner @ state["outer.weight"].T + state["outer.bias"])
    assert sum(p.numel() for p in encoder.parameters()) == 5 * 16 + 16 * 7 + 7 + 7 * 16 + 16


def test_it_starts_as_published():
    torch.manual_seed(0)
    normal, default = (PromptEncoder(40, 64, 80, init) for init in ("normal", "torch"))
    for part in (normal.embedding, normal.inner, normal.outer):
        assert float(part.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not normal.inner.bias.any()
    assert not normal.outer.bias.any()
    assert float(default.embedding.weight.detach().std()) == pytest.approx(1, rel=0.05)
    assert float(default.inner.weight.detach().abs().max()) == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize("task", TASKS[:2])
def test_every_task_has_tokens_of_its_own(task):
    config = {"type": "PromptTuning", "length": 3, "hidden": 5, "share": []}
    model = Language(bart(), config)
    randomize(model.adapter)
    slot = model.adapter.places.slots["text.tokens"][0]
    with model.tasks.set(task):
        assert torch.equal(slot.own(), model.adapter.prompts["text"][task]())
        model.loss().backward()
    for name, parameter in model.adapter.named_parameters():
        assert (parameter.grad is not None) == name.startswith(f"prompts.text.{task}."), name
    with pytest.raises(ValueError, match="PromptTuning has parameters of its own for each"):
        model()
    assert copy.deepcopy(model).adapter.places.tasks is not model.tasks


def test_one_set_serves_all_tasks_and_runs():
    model = Language(bart(), {"type": "PromptTuning", "length": 3, "roles": ["text", "decoder"]})
    places = model.adapter.places
    assert set(model.adapter.prompts) == {"text", "decoder"}
    assert places.slots["decoder.tokens"][0].own().shape == (3, 16)
    with model.adapter.disabled():
        assert places.slots["text.tokens"][0].own() is None


def test_texts_of_other_towers_have_a_place_for_tokens_as_well():
    model = tiny_model(adapter={"type": "PromptTuning", "length": 2, "hidden": 5}).eval()
    bare = outputs(model, tiny_batch())
    randomize(model.adapter)
    assert not torch.equal(outputs(model, tiny_batch())[3], bare[3])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"length": 0}, "adapter.length=0 must be an int >= 1"),
        ({"hidden": 0}, "adapter.hidden=0 must be an int >= 1"),
        ({"init": "zero"}, "adapter.init='zero' is unknown"),
        ({"roles": []}, r"adapter.roles=\[\]: name at least one"),
        ({"roles": ["visual"]}, "PromptTuning fills the site 'visual.tokens'"),
        ({"share": []}, "keeps parameters apart by task, but this model has no tasks"),
    ],
)
def test_options_that_do_nothing_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        PromptTuning(places_of(bart(), None), **options)
