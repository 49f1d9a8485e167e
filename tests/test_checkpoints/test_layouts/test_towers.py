"""Single towers of other projects: every key of their files is used or left with a reason."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.damage import damaged, odd_states
from tests.helpers import draws
from tests.malformed import outcome, spoiled
from uniadapter.checkpoints.layouts import read_efficientnet_lite, read_sentence_bert
from uniadapter.models import EfficientNetLite, SentenceBert
from uniadapter.models.execution import Words

transformers = pytest.importorskip("transformers")
SIZES = {"hidden_size": 12, "num_layers": 2, "num_heads": 3, "intermediate_size": 20}
STEPS = ("Transformer", "Pooling", "Normalize")
_numbers = itertools.count()
ARCH = {"stem": 4, "groups": [(1, 3, 1, 1, 4), (2, 5, 2, 2, 6)], "head": 10}


def text_tower(**options: Any) -> SentenceBert:
    return SentenceBert(**{"vocab_size": 30, "max_positions": 9, **SIZES, **options}).eval()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as sentence-transformers writes it, of a small model of transformers."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(1)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    config = transformers.BertConfig(
        vocab_size=30, max_position_embeddings=9, **dict(zip(names, SIZES.values(), strict=True))
    )
    model = transformers.BertModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    # Older versions of transformers kept these.
    state["embeddings.position_ids"] = torch.arange(9)[None]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    pooling = {"word_embedding_dimension": 12, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(
        json.dumps({**pooling, "pooling_mode_cls_token": False, "include_prompt": True})
    )
    steps = [{"idx": n, "type": f"sentence_transformers.models.{x}"} for n, x in enumerate(STEPS)]
    (folder / "modules.json").write_text(json.dumps(steps))
    return folder


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(source, tmp_path / "encoder"))


@pytest.mark.parametrize("types", [0, 2])
def test_a_sentence_encoder_computes_what_transformers_does(source: Path, types: int) -> None:
    model = text_tower(type_vocab_size=types)
    state, report = read_sentence_bert(source, model)
    model.load_state_dict(state)
    file = load_file(source / "model.safetensors")
    assert set(report.used) | set(report.left) == set(file)
    assert not set(report.used) & set(report.left)
    assert len(report.left) == 3
    assert set(report.used.values()) <= set(model.state_dict())
    theirs = transformers.BertModel.from_pretrained(source, attn_implementation="eager").eval()
    ids = torch.randint(1, 30, (4, 8))
    mask = (torch.arange(8) < torch.tensor([[8], [1], [5], [3]])).long()
    with torch.no_grad():
        want = theirs(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
        got = model.states(Words(ids, mask))[:, 1:] * mask[..., None]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "pools by nothing"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pooling_mode_cls_token"),
        ("config.json", {"num_attention_heads": 6}, "num_attention_heads=6, the tower has 3"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act='relu', the tower has 'gelu'"),
        ("config.json", {"layer_norm_eps": 1e-5}, "layer_norm_eps=1e-05, the tower has 1e-12"),
        ("config.json", {"model_type": "roberta"}, "model_type='roberta', the tower has 'bert'"),
        ("config.json", {"is_decoder": True}, "is_decoder=True, the tower has False"),
    ],
)
def test_another_encoder_is_refused(folder: Path, file: str, change: dict, said: str) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=said):
        read_sentence_bert(folder, text_tower())


def test_what_a_config_leaves_out_is_transformers_default(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["num_attention_heads"]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="num_attention_heads=12, the tower has 3"):
        read_sentence_bert(folder, text_tower())


def test_a_text_that_is_more_than_a_mean_is_refused(folder: Path) -> None:
    steps = json.loads((folder / "modules.json").read_text())
    steps.insert(2, {"idx": 2, "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(steps))
    with pytest.raises(ValueError, match=r"modules.json puts a text through .*Dense"):
        read_sentence_bert(folder, text_tower())
    (folder / "modules.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no JSON list"):
        read_sentence_bert(folder, text_tower())
    (folder / "modules.json").unlink()
    read_sentence_bert(folder, text_tower())


def test_types_and_positions_of_a_half_file_are_added_in_full(folder: Path) -> None:
    path = folder / "model.safetensors"
    file = {n: t.half() if t.is_floating_point() else t for n, t in load_file(path).items()}
    save_file(file, path, {"format": "pt"})
    state, _ = read_sentence_bert(folder, text_tower())
    names = ("position_embeddings", "token_type_embeddings")
    rows, types = (file[f"embeddings.{name}.weight"].float() for name in names)
    assert torch.equal(state["embeddings.position_embeddings.weight"], rows + types[0])
    del file["embeddings.position_embeddings.weight"]
    save_file(file, path, {"format": "pt"})
    with pytest.raises(ValueError, match="missing in the file: .*position_embeddings"):
        read_sentence_bert(folder, text_tower())


def test_a_folder_without_its_files_is_an_error_that_names_them(folder: Path) -> None:
    (folder / "1_Pooling/config.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds no JSON object"):
        read_sentence_bert(folder, text_tower())
    shutil.rmtree(folder / "1_Pooling")
    with pytest.raises(FileNotFoundError, match="1_Pooling/config.json does not exist"):
        read_sentence_bert(folder, text_tower())
    with pytest.raises(FileNotFoundError, match="config.json does not exist"):
        read_sentence_bert(folder / "nowhere", text_tower())


def test_a_tower_of_another_size_is_refused(source: Path) -> None:
    with pytest.raises(ValueError, match="does not fit the model"):
        read_sentence_bert(source, text_tower(num_layers=1))
    with pytest.raises(ValueError, match="other shapes|file \\(30, 12\\), model \\(31, 12\\)"):
        read_sentence_bert(source, text_tower(vocab_size=31))


def lite_file(path: Path, zipped: bool = False) -> dict[str, torch.Tensor]:
    """A file as efficientnet-lite-pytorch names its tensors, of the old format or a zip."""
    generator = torch.Generator().manual_seed(3)

    def norm(name: str, width: int) -> dict[str, torch.Tensor]:
        keys = ("weight", "bias", "running_mean", "running_var")
        found = {f"{name}.{k}": torch.rand(width, generator=generator) + 0.5 for k in keys}
        return {**found, f"{name}.num_batches_tracked": torch.tensor(7)}

    def conv(name: str, *shape: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": torch.randn(*shape, generator=generator)}

    state = {**conv("_conv_stem", 4, 3, 3, 3), **norm("_bn0", 4)}
    for index, (before, inner, width, kernel) in enumerate(
        [(4, 4, 4, 3), (4, 8, 6, 5), (6, 12, 6, 5)]
    ):
        name = f"_blocks.{index}"
        if index:
            state.update(conv(f"{name}._expand_conv", inner, before, 1, 1))
            state.update(norm(f"{name}._bn0", inner))
        state.update(conv(f"{name}._depthwise_conv", inner, 1, kernel, kernel))
        state.update(norm(f"{name}._bn1", inner))
        state.update(conv(f"{name}._project_conv", width, inner, 1, 1))
        state.update(norm(f"{name}._bn2", width))
    state.update({**conv("_conv_head", 10, 6, 1, 1), **norm("_bn1", 10)})
    state.update({**conv("_fc", 7, 10), "_fc.bias": torch.rand(7, generator=generator)})
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return state


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("classes", [0, 7])
def test_every_tensor_of_a_lite_file_has_its_place(
    tmp_path: Path, zipped: bool, classes: int
) -> None:
    source = lite_file(tmp_path / "lite.pth", zipped)
    tower = EfficientNetLite(ARCH, img_size=20, num_classes=classes)
    state, report = read_efficientnet_lite(tmp_path / "lite.pth", tower)
    assert set(report.used) | set(report.left) == set(source)
    assert set(state) == set(tower.state_dict()) == set(report.used.values())
    assert len(report.left) == 10 + 2 * (classes == 0)
    for theirs, ours in report.used.items():
        assert torch.equal(state[ours].flatten(), source[theirs].flatten()), theirs
    tower.load_state_dict(state)


def test_another_lite_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lite.pth"
    state = lite_file(path)
    with pytest.raises(ValueError, match="does not fit the model"):
        read_efficientnet_lite(path, EfficientNetLite({**ARCH, "head": 12}))
    torch.save({**state, "_blocks.1._se_reduce.weight": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="no part of the layout 'efficientnet-lite'"):
        read_efficientnet_lite(path, EfficientNetLite(ARCH))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_efficientnet_lite(tmp_path / "none.pth", EfficientNetLite(ARCH))
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(ValueError, match="lite.pth"):
        read_efficientnet_lite(path, EfficientNetLite(ARCH))


@settings(max_examples=draws(4, deep=200))
@given(data=st.data())
def test_damaged_folders(
    data: st.DataObject, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"damaged_encoder{next(_numbers)}"
    shutil.copytree(source, folder)
    files = ("config.json", "1_Pooling/config.json", "modules.json", "model.safetensors")
    name = data.draw(st.sampled_from(files))
    content = (source / name).read_bytes()
    if name.endswith(".json"):
        ways = st.one_of(damaged(content), spoiled(json.loads(content)))
        (folder / name).write_bytes(data.draw(ways))
    elif data.draw(st.booleans()):
        state = data.draw(odd_states(load_file(source / name), plain=True))
        save_file(state, folder / name)
    else:
        (folder / name).write_bytes(data.draw(damaged(content)))
    types = data.draw(st.sampled_from([0, 2]))
    outcome(lambda: read_sentence_bert(folder, text_tower(type_vocab_size=types)), folder)
