"""A checkpoint of another family is one clear error, whoever reads it.

Every family's files, in the names of this package and of each layout it is published in, are given
to the models of all others: as ``model.pretrained``, as the checkpoint of a test, to the converter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import load_tool, tiny_run_cfg, write_run_cfg
from tests.test_models.test_adapters import contract_models as models
from uniadapter.checkpoints import load_pretrained, load_weights
from uniadapter.checkpoints.layouts import SOURCES, convert_with, read_checkpoint
from uniadapter.checkpoints.state import weight_names

TOOL = "tools/model_converters/convert_checkpoint.py"
FAMILIES = {
    "blip": models.blip_image,
    "blip_large": models.blip_two_widths,
    "blip_vqa": models.vqa,
    "albef": models.albef,
    "beit3": models.beit3,
    "clip": models.clip,
}
LAYOUTS = {
    "blip": ("blip", "hf", "mmpretrain"),
    "blip_large": ("blip", "hf", "mmpretrain"),
    "blip_vqa": ("blip", "hf", "mmpretrain"),
    "albef": ("albef",),
    "beit3": ("beit3",),
    "clip": ("clip", "clip-hf"),
}
FILES = [(family, layout) for family, named in LAYOUTS.items() for layout in ("own", *named)]
PAIRS = [
    pytest.param(family, theirs, layout, id=f"{theirs}-{layout}-as-{family}")
    for family in FAMILIES
    for theirs, layout in FILES
    if theirs != family
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = models.write_files(tmp_path_factory.mktemp("models"))
    return {name: make(None, folder) for name, make in FAMILIES.items()}


def _names(name: str, layout: str) -> list[str]:
    """What a file of a layout calls a tensor, before anything of it is taken apart."""
    return sorted({key.partition("[")[0] for key in SOURCES[layout].to_theirs(name)})


@pytest.fixture(scope="module")
def files(
    built: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Path]:
    """A file of each family and layout. Thirds of CLIP's fused projections stand for the whole."""
    folder, found = tmp_path_factory.mktemp("files"), {}
    for family, layout in FILES:
        own = built[family].state_dict()
        names = sorted(weight_names(built[family]))
        if layout == "own":
            state = {name: own[name] for name in names}
        else:
            state = {key: own[name] for name in names for key in _names(name, layout)}
        path = found[family, layout] = folder / f"{family}_{layout}.pth"
        torch.save({"model": state}, path)
    return found


@pytest.mark.parametrize(("family", "theirs", "layout"), PAIRS)
def test_a_model_refuses_it(family: str, theirs: str, layout: str, built: Any, files: Any):
    path, model = files[theirs, layout], built[family]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for load in (load_pretrained, load_weights):
        with pytest.raises(ValueError, match="does not fit the model|leaves out the") as error:
            load(model, path)
        said = str(error.value)
        assert str(path) in said
        assert TOOL in said
        # A layout of another code base is known by its names.
        assert layout == "own" or f"{TOOL} --from" in said
        assert layout == "own" or layout in said.rpartition("--from ")[2]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


# Readers of whole transformers folders, and of a file with a table of answers, ask for more.
_ASKING = ("hf", "clip-hf", "t5-hf", "bart-hf", "clip-vil-start", "vl-adapter")
_FLAT = [name for name in SOURCES if name not in _ASKING]


@pytest.mark.parametrize(("family", "theirs", "layout"), PAIRS)
def test_the_converter_refuses_it(family: str, theirs: str, layout: str, built: Any, files: Any):
    path = files[theirs, layout]
    for source in _FLAT:
        with pytest.raises(ValueError) as error:
            read_checkpoint(path, source, built[family])
        said = str(error.value)
        assert str(path) in said or "in_proj" in said
        assert f"{source!r}" in said or "does not fit" in said or "in_proj" in said
        # Of two state dicts in a list, whatever their names are.
        if layout == "own" and source != "vse":
            assert "no part of the layout" in said
            assert "this package's own" in said or "check --from" in said


def test_the_layouts_that_know_all_names():
    assert convert_with([]) == convert_with(["anything"]) == f"convert other layouts with {TOOL}"
    keys = ["visual_encoder.cls_token", "text_encoder.encoder.layer.0.output.dense.weight"]
    assert convert_with(keys).endswith("--from blip|uniadapter|albef")
    assert convert_with([*keys, "mine"]) == f"convert other layouts with {TOOL}"


def test_half_a_backbone_is_no_backbone_left_out(built: Any, tmp_path: Path):
    """Its heads would be put on towers that they were not trained on."""
    model = built["blip"]
    state = {name: model.state_dict()[name] for name in weight_names(model)}
    del state["visual.cls_token"]
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(ValueError, match=r"missing in the file: visual\.cls_token"):
        load_weights(model, tmp_path / "half.pth")
    more = {**model.state_dict(), "text.encoder.layer.2.output.dense.bias": torch.zeros(32)}
    torch.save(more, tmp_path / "deeper.pth")
    for load in (load_pretrained, load_weights):
        with pytest.raises(ValueError, match=r"not in the model: text\.encoder\.layer\.2\.output"):
            load(model, tmp_path / "deeper.pth")


def test_an_adapter_is_not_lost_without_a_word(tmp_path: Path, monkeypatch: Any):
    said: list[str] = []
    monkeypatch.setattr("uniadapter.checkpoints.load.print_log", lambda text, *_: said.append(text))
    adapter, file = {"type": "UniAdapter", "bottleneck": 4}, tmp_path / "deep.pth"
    torch.save(models.blip_image(adapter, tmp_path).state_dict(), file)
    with pytest.raises(ValueError, match=r"not in the model: adapter\.layers\.1\.down"):
        load_weights(models.blip_image({**adapter, "layers": "1"}, tmp_path), file)
    load_weights(models.blip_image(adapter, tmp_path), file)
    assert not said
    load_weights(models.blip_image(None, tmp_path), file)
    assert said == [f"{file}: left out ['adapter'], which this RetrievalModel has not."]


@pytest.mark.parametrize("layout", ["own", "clip"])
def test_runs_refuse_it(layout: str, files: Any, tiny_world: Path, tmp_path: Path, capsys: Any):
    cfg = write_run_cfg(tmp_path / "cfg.py", tiny_run_cfg(tiny_world))
    path = files["clip", layout]
    runs = [
        ("train.py", ["--cfg-options", f"model.pretrained={path}"]),
        ("train.py", ["--cfg-options", f"load_from={path}"]),
        ("test.py", [str(path)]),
    ]
    for tool, options in runs:
        with pytest.raises((SystemExit, ValueError)) as error:
            load_tool(tool).main([str(cfg), *options, "--work-dir", str(tmp_path / "run")])
        said = str(error.value) + capsys.readouterr().err
        assert str(path) in said
        assert "RetrievalModel" in said
        assert "epoch_1.pth" not in [file.name for file in tmp_path.rglob("*")]
