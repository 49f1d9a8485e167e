"""Rows of one batch that are of several adapters: each as if its adapter were the active one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.model_helpers import adapter_cfg, tiny_batch
from tests.test_models.test_adapters import contract_models as models
from tests.test_models.test_adapters.contract import METHODS, MODELS
from tests.test_models.test_tasks.test_named_adapters import LORA, filled
from uniadapter.structures import MultimodalSample

TASKS = {"blip_video": "similarity", "vqa": "pred_answer", "caption": "pred_caption"}
# Upper layers alone, so that what lies below is run once for all; and all other methods.
UPPER = {"uni": adapter_cfg(layers="2"), "lora": {**LORA, "layers": "2"}}


def configs_of(task):
    found = {
        name: method.config_for(MODELS[task])
        for name, method in METHODS.items()
        if task not in method.refuses
    }
    return {"bare": None, **UPPER, **found}


def build(task, folder):
    def make(adapter):
        answers = {"answer_list": ["red", "a green bar", "dot"]} if task == "vqa" else {}
        return getattr(models, task)(adapter, folder, **answers)

    return make


def samples(names):
    found = [MultimodalSample() for _ in names]
    for sample, name in zip(found, names, strict=True):
        if name is not None:
            sample.set_metainfo({"adapter": name})
    return found


def predicted(model, task, batch, names):
    with torch.no_grad():
        found = model(**batch, data_samples=samples(names), mode="predict")
    return [sample.get(TASKS[task]) for sample in found]


def batch_of(task, size, seed=1):
    batch = tiny_batch(size, seed=seed)
    return {"pixels": batch["pixels"]} if task == "caption" else batch


@settings(max_examples=draws(6, 60))
@given(st.data(), st.sampled_from(sorted(TASKS)), st.integers(2, 5), st.integers(0, 9))
def test_each_row_is_as_if_its_adapter_were_active(tiny_vocab, data, task, size, seed):
    configs = configs_of(task)
    kinds = data.draw(st.lists(st.sampled_from(sorted(configs)), min_size=2, max_size=3))
    model = filled(*(configs[kind] for kind in kinds), build=build(task, tiny_vocab.parent))
    chosen = st.sampled_from([*model.list_adapters(), None])
    names = data.draw(st.lists(chosen, min_size=size, max_size=size))
    batch = batch_of(task, size, seed)
    found = predicted(model, task, batch, names)
    assert model.active == "default"
    for row, name in enumerate(names):
        with model.adapter_active(name or "default"):
            expected = predicted(model, task, batch, [None] * size)[row]
        if isinstance(expected, torch.Tensor):
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)
        else:
            assert found[row] == expected


@pytest.mark.parametrize("task", sorted(TASKS))
def test_tensors_of_rows_that_the_model_is_told(task, tiny_vocab):
    model, batch = filled(*UPPER.values(), build=build(task, tiny_vocab.parent)), batch_of(task, 4)
    model.active = ["a", "default", "a", "a"]
    with torch.no_grad():
        found = model(**batch, mode="tensor")
        again = model(**batch, mode="tensor")
        names, model.active = model.active, "default"
        for row, name in enumerate(names):
            model.active = name
            expected = model(**batch, mode="tensor")
            for key in expected if isinstance(expected, dict) else [slice(None)]:
                torch.testing.assert_close(
                    found[key][row], expected[key][row], atol=1e-5, rtol=1e-4
                )
                assert torch.equal(found[key], again[key])


def test_a_row_whose_sample_says_nothing_is_as_the_model_is_told():
    model, batch = filled(*UPPER.values()), tiny_batch(3)
    expected = predicted(model, "blip_video", batch, ["default", "a", "a"])
    model.active = ["a", "a", "a"]
    found = predicted(model, "blip_video", batch, ["default", None, None])
    assert all(torch.equal(row, other) for row, other in zip(found, expected, strict=True))
    model.active = ["a", "a"]
    assert predicted(model, "blip_video", batch, ["default", "a", "a"])
    with pytest.raises(ValueError, match="3 rows needs as many adapters, got 2"):
        predicted(model, "blip_video", batch, ["default", None, None])


def test_frozen_layers_run_once_for_all_rows():
    model, batch = filled(*UPPER.values(), {"type": "UniPT"}), tiny_batch(4)
    calls = []
    layer = model.visual.layers[0]
    layer.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    model.active = ["default", "a", "default", "a"]
    with torch.no_grad():
        model(**batch, mode="predict", data_samples=samples([None] * 4))
        assert calls == [8]
        # UniPT runs the tower itself, and the others share what they have in common.
        calls.clear()
        model.active = ["default", "a", "b", "a"]
        model(**batch, mode="predict", data_samples=samples([None] * 4))
    assert sorted(calls) == [2, 8]


def test_skipped_media_have_no_row(tiny_vocab):
    model = filled(*UPPER.values(), build=build("caption", tiny_vocab.parent))
    given_samples = samples(["a", "default", "a"])
    given_samples[1].set_metainfo({"skipped": True})
    batch = batch_of("caption", 2)
    with torch.no_grad():
        found = model(**batch, data_samples=given_samples, mode="predict")
    assert [sample.get("pred_caption") is None for sample in found] == [False, True, False]


def test_mixed_rows_have_no_graph():
    """Only the active adapter would get its gradients; a backward pass is an error instead."""
    model, batch = filled(adapter_cfg(), LORA), tiny_batch(2)
    found = model(**batch, data_samples=samples(["default", "a"]), mode="tensor")
    assert not any(value.requires_grad for value in found.values())


def test_what_cannot_be_mixed_is_said():
    model, batch = filled(adapter_cfg(), LORA), tiny_batch(3)
    with pytest.raises(ValueError, match="A step trains the active adapter"):
        model(**batch, data_samples=samples(["default", "a", "a"]), mode="loss")
    with pytest.raises(ValueError, match="no adapter 'c'"):
        model(**batch, data_samples=samples(["default", "a", "c"]), mode="predict")
    with pytest.raises(ValueError, match="no adapter 'c'"):
        model.active = ["a", "c"]
    model.active = ["default", "a"]
    with pytest.raises(ValueError, match="3 rows needs as many adapters, got 2"):
        model(**batch)
    with pytest.raises(ValueError, match=r"model.active names 'a' for rows"):
        model.delete_adapter("a")
    model.active = ["default", "a", "a"]
    texts = {key: batch[key][:2] for key in ("input_ids", "attention_mask")}
    with pytest.raises(ValueError, match="need one text a medium: 3 media, 2 texts"):
        model(batch["pixels"], **texts)


def test_a_task_without_mixed_rows_says_so(tiny_vocab):
    model = models.t5(LORA, tiny_vocab.parent)
    model.add_adapter("a", LORA)
    with pytest.raises(ValueError, match="takes batches of one adapter alone"):
        model.active = ["a", "default"]
    with pytest.raises(ValueError, match=r"names \['a'\] where 'default' is active"):
        model._run_forward({"data_samples": samples(["a"])}, mode="predict")
