"""Freezing, counting, saving and loading of what is trained."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import adapter_cfg, outputs, randomize, same, tiny_batch, tiny_model
from uniadapter.checkpoints import adapter as state_module
from uniadapter.models.adapters.state import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    backbone_fingerprint,
    check_state,
    count_parameters,
    heads_fingerprint,
    load_adapter,
    save_adapter,
    set_trainable,
    trained_state_dict,
)
from uniadapter.models.adapters.uniadapter import UniAdapter
from uniadapter.registry import MODELS


def fresh(**options):
    """A model with the backbone of ``tiny_model()`` and an adapter trained elsewhere."""
    model = tiny_model(adapter=adapter_cfg(**options))
    state = tiny_model().state_dict()
    model.load_state_dict(
        {n: t for n, t in state.items() if n.startswith(("visual.", "text."))}, strict=False
    )
    return randomize(model, seed=8)


@pytest.fixture
def saved(tmp_path):
    model = randomize(tiny_model())
    return model, save_adapter(model, tmp_path / "adapter")


def test_trainable_is_decided_by_identity():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    set_trainable(model, model[1].parameters())
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    with pytest.raises(ValueError, match="1 trainable parameters do not belong to the model"):
        set_trainable(model, [nn.Parameter(torch.ones(2))])


def test_components_cover_all_parameters_once():
    model = tiny_model(adapter=adapter_cfg(kv_rank=4))
    counts = count_parameters(model)
    parts = {name: n for name, n in counts.items() if name not in ("trainable", "total")}
    assert sum(parts.values()) == counts["total"] == sum(p.numel() for p in model.parameters())
    assert counts["trainable"] == counts["total"] - counts["backbone"]
    assert counts["temperature"] == 1


@pytest.mark.parametrize(
    ("options", "frozen"),
    [
        ({"train_temperature": False}, {"temp"}),
        ({"train_heads": False}, {"vision_proj", "text_proj", "itm_head"}),
        ({"train_backbone": True}, set()),
    ],
)
def test_what_else_is_trained_is_an_option(options, frozen):
    model = tiny_model(**options)
    rest = {n.split(".")[0] for n, p in model.named_parameters() if not p.requires_grad}
    assert rest == frozen | (set() if "train_backbone" in options else {"visual", "text"})


def test_the_file_holds_adapter_heads_and_temperature_only(saved):
    model, folder = saved
    tensors = load_file(folder / WEIGHTS_NAME)
    assert set(tensors) == set(trained_state_dict(model))
    parts = {name.split(".")[0] for name in tensors}
    assert parts == {"adapter", "vision_proj", "text_proj", "itm_head", "temp"}
    config = json.loads((folder / CONFIG_NAME).read_text())
    assert config["method"] == "UniAdapter"
    assert config["options"]["bottleneck"] == 8
    assert config["parameters"] == count_parameters(model)["trainable"]
    assert config["backbone_sha256"] == backbone_fingerprint(model)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sharing": "none", "query_residual": "own"},
        {"sharing": "down+up", "layers": [2]},
        {"variant": "released", "kv_rank": 4, "learnable_scale": True},
    ],
)
def test_a_round_trip_is_bit_equal(options, tmp_path):
    model, batch = fresh(**options), tiny_batch()
    save_adapter(model, tmp_path)
    other = randomize(fresh(**options), seed=12)
    assert not same(outputs(other, batch), outputs(model, batch))
    load_adapter(other, tmp_path / WEIGHTS_NAME)
    assert same(outputs(other, batch), outputs(model, batch))


def test_the_fingerprint_depends_on_the_backbone_alone():
    model = tiny_model()
    before = backbone_fingerprint(model)
    assert backbone_fingerprint(randomize(model)) == before
    with torch.no_grad():
        model.text.embeddings.word_embeddings.weight[3, 0] += 1e-3
    assert backbone_fingerprint(model) != before


def test_the_fingerprint_is_independent_of_the_image_size():
    visual = {**tiny_retrieval_cfg()["visual"], "img_size": 64}
    small, large = tiny_model(), tiny_model(visual=visual)
    large.load_state_dict(small.state_dict(), strict=False)
    assert backbone_fingerprint(large) == backbone_fingerprint(small)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"bottleneck": 4}, "adapter.bottleneck: file 8, model 4"),
        ({"sharing": "none"}, "adapter.sharing: file 'down', model 'none'"),
        ({"scale": 0.2}, "adapter.scale: file 0.1, model 0.2"),
        ({"layers": "2"}, "adapter.layers: file None, model '2'"),
    ],
)
def test_another_rank_or_option_is_an_error_that_says_which(saved, options, match):
    with pytest.raises(ValueError, match=match):
        load_adapter(fresh(**options), saved[1])


@pytest.mark.parametrize(
    ("file", "model"),
    [
        (None, "1-2"),
        ("1,2", [2, 1]),
        ([1, 2], None),
        ("2", [2]),
        ("1", (1,)),
    ],
)
@pytest.mark.parametrize("option", ["layers", "shared_layers"])
def test_one_choice_of_layers_written_in_two_ways_is_one_adapter(option, file, model, tmp_path):
    written = fresh(**{option: file})
    save_adapter(written, tmp_path)
    other = fresh(**{option: model}, towers=["cross", "visual", "text"])
    load_adapter(other, tmp_path)
    assert same(outputs(other, tiny_batch()), outputs(written, tiny_batch()))


def test_an_option_that_the_file_lacks_had_its_default(saved):
    path = saved[1] / CONFIG_NAME
    config = json.loads(path.read_text())
    for option in ("dropout", "learnable_scale", "scale"):
        del config["options"][option]
    path.write_text(json.dumps(config))
    load_adapter(fresh(), saved[1])
    with pytest.raises(ValueError, match=r"adapter\.scale: file 0\.1, model 0\.2"):
        load_adapter(fresh(scale=0.2), saved[1])


def test_an_option_of_a_later_version_is_named(saved):
    path = saved[1] / CONFIG_NAME
    config = json.loads(path.read_text())
    config["options"] |= {"later": 3, "layers": "1-9"}
    path.write_text(json.dumps(config))
    with pytest.raises(
        ValueError,
        match=r"later: file 3, unknown to this UniAdapter\n.*layers: file '1-9', model None",
    ):
        load_adapter(fresh(), saved[1])


@MODELS.register_module()
class TiltedAdapter(UniAdapter):
    """A method of another project that adds an option."""

    def __init__(self, places, tilt=(1, 2), **options):
        super().__init__(places, **options)
        self.options["tilt"] = tilt


def test_a_method_that_extends_another_has_the_defaults_of_both(tmp_path):
    def model(**options):
        cfg = {**adapter_cfg(**options), "type": "TiltedAdapter"}
        return randomize(tiny_model(adapter=cfg))

    config_path = save_adapter(model(layers="1-2"), tmp_path) / CONFIG_NAME
    load_adapter(model(), tmp_path)
    with pytest.raises(ValueError, match=r"adapter\.tilt: file \[1, 2\], model \(2, 1\)"):
        load_adapter(model(tilt=(2, 1)), tmp_path)
    config = json.loads(config_path.read_text())
    config["options"] = {"bottleneck": 8}
    config_path.write_text(json.dumps(config))
    load_adapter(model(), tmp_path)


def frozen_heads(seed=0, **overrides):
    """A model of the backbone of ``tiny_model()`` with frozen heads of its own."""
    model = tiny_model(train_heads=False, **overrides)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for head in model.heads().values():
            head.weight.copy_(torch.randn(head.weight.shape, generator=generator))
    return model


def test_other_frozen_heads_are_an_error(tmp_path):
    folder = save_adapter(randomize(frozen_heads()), tmp_path)
    load_adapter(frozen_heads(), folder)
    with pytest.raises(ValueError, match=r"frozen heads of other weights.*set model\.pretrained"):
        load_adapter(frozen_heads(seed=1), folder)
    load_adapter(frozen_heads(seed=1), folder, check_backbone=False)


def test_a_file_that_does_not_say_its_frozen_heads_is_loaded_with_a_warning(tmp_path, monkeypatch):
    folder = save_adapter(randomize(frozen_heads()), tmp_path)
    path = folder / CONFIG_NAME
    config = json.loads(path.read_text())
    del config["frozen_heads_sha256"]
    path.write_text(json.dumps(config))
    said = []
    monkeypatch.setattr(state_module, "print_log", lambda message, *_: said.append(message))
    load_adapter(frozen_heads(seed=1), folder)
    assert len(said) == 1
    assert "does not say on which frozen heads it was trained" in said[0]
    assert heads_fingerprint(tiny_model()) is None


def test_another_method_is_an_error(saved):
    config = saved[1] / CONFIG_NAME
    config.write_text(config.read_text().replace("UniAdapter", "LoRA"))
    with pytest.raises(ValueError, match="method: file 'LoRA', model 'UniAdapter'"):
        load_adapter(fresh(), saved[1])
    with pytest.raises(ValueError, match="method: file 'LoRA', model 'none'"):
        load_adapter(tiny_model(adapter=None), saved[1])


def test_another_backbone_is_an_error_unless_it_is_waived(saved):
    other = tiny_model(seed=3)
    with pytest.raises(ValueError, match="backbone with other weights.*model.pretrained"):
        load_adapter(other, saved[1])
    load_adapter(other, saved[1], check_backbone=False)
    assert torch.equal(other.itm_head.weight, saved[0].itm_head.weight)


def test_another_width_is_an_error_that_names_the_tensor(saved):
    other = tiny_model(embed_dim=8)
    with pytest.raises(ValueError, match=r"vision_proj.weight: file \(16, 32\), model \(8, 32\)"):
        load_adapter(other, saved[1])


def test_zero_matching_keys_are_an_error(saved):
    save_file({"encoder.weight": torch.ones(2)}, saved[1] / WEIGHTS_NAME)
    with pytest.raises(
        ValueError,
        match=r"none of what .* is in the file: adapter.*\n.*in the model: enc",
    ):
        load_adapter(fresh(), saved[1])


def test_missing_and_left_over_keys_are_named(saved):
    model, folder = saved
    state = {**trained_state_dict(model), "adapter.extra": torch.ones(1)}
    del state["temp"]
    with pytest.raises(ValueError, match=r"missing in the file: temp\n.*not in the model: adapter"):
        check_state(folder, state, model)


def test_a_refused_file_leaves_the_model_as_it_was(saved):
    other = tiny_model(seed=3)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match="other weights"):
        load_adapter(other, saved[1])
    assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items())


@pytest.mark.parametrize("name", [WEIGHTS_NAME, CONFIG_NAME])
def test_a_missing_file_is_named(saved, name):
    (saved[1] / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        load_adapter(fresh(), saved[1])


@pytest.mark.parametrize("size", [0, 4, 200, -10])
def test_a_damaged_file_is_an_error(saved, size):
    path = saved[1] / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=f"{WEIGHTS_NAME} is damaged.*copy or save it again"):
        load_adapter(fresh(), saved[1])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must hold one JSON object, not a list"),
        ('{"format_version": 1}', "lacks the key 'method'"),
    ],
)
def test_a_bad_json_is_an_error(saved, text, match):
    (saved[1] / CONFIG_NAME).write_text(text)
    with pytest.raises(ValueError, match=f"{CONFIG_NAME} {match}"):
        load_adapter(fresh(), saved[1])


def test_a_file_of_another_version_is_an_error(saved):
    path = saved[1] / CONFIG_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 9}))
    with pytest.raises(ValueError, match="has format_version=9, this version .* reads 1"):
        load_adapter(fresh(), saved[1])
