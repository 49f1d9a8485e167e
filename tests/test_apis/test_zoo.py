"""Models and weights by name."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from safetensors.torch import load_file, save_file

import uniadapter
from tests.helpers import ROOT
from uniadapter import apis
from uniadapter.apis import (
    encode_image,
    encode_text,
    find_weights,
    get_model,
    init_model,
    list_models,
    load_model_and_preprocess,
)
from uniadapter.apis.convert import convert_checkpoint
from uniadapter.apis.weights import weight_file, weights_of
from uniadapter.checkpoints.layouts import SOURCES
from uniadapter.cli.commands.download import main as download
from uniadapter.utils import model_index, paths

ZERO_SHOT = ROOT / "configs/tiny/msrvtt_zero_shot.py"
WEIGHTS = ROOT / "configs/pretrain/blip_tiny.safetensors"


@pytest.fixture(autouse=True)
def nothing_of_the_user(tmp_path, monkeypatch):
    """The user's folder is an empty one."""
    monkeypatch.setenv("UNIADAPTER_HOME", str(tmp_path / "home"))


def weights_in(model):
    """The model's state without what begins at random, the queue."""
    return {name: t for name, t in model.state_dict().items() if not name.startswith("queue")}


def entries():
    return model_index.models_by_name().values()


def test_models_are_listed_by_name_task_and_weights():
    names = list_models()
    assert names == sorted(names)
    assert len(names) == len(set(names)) == len(entries())
    assert (
        list_models("uniadapter_msrvtt_r")
        == list_models("*_MSRVTT_R*", task="video retrieval")[-2:]
    )
    two = list_models(["blip_tiny", "albef_tiny"])
    assert two == ["albef_tiny", "blip_tiny"]
    assert list_models("*_tiny", exclude_patterns=["*large*", "albef", "clip", "beit", "vse"]) == [
        "blip_tiny",
        "mdetr_tiny",
    ]
    captions = list_models(task="image captioning")
    assert captions
    assert set(captions) == {e.name for e in entries() if "Image Captioning" in e.tasks}
    with_weights = list_models(pretrained=True)
    assert {"blip_tiny", "tiny_zero_shot", "clip_b32"} <= set(with_weights)
    assert sorted([*with_weights, *list_models(pretrained=False)]) == names
    with pytest.raises(ValueError, match=r"'captoning'\..*Image Captioning"):
        list_models(task="captoning")


def test_the_package_has_the_functions_as_well():
    names = [name for name in dir(uniadapter) if name in apis.__all__]
    assert {"get_model", "encode_image", "read_video", "inference_model"} <= set(names)
    assert all(getattr(uniadapter, name) is getattr(apis, name) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = uniadapter.colour


def test_every_model_has_a_task():
    assert [entry.name for entry in entries() if not entry.tasks] == []


def test_every_file_of_weights_is_told_apart():
    files = [found for e in entries() if (found := weight_file(e.meta)) is not None]
    public = [found for found in files if found.url is not None]
    assert len({found.path for found in public}) == len(public)
    assert {found.layout for found in public} <= {*SOURCES, None}
    # What nobody published a digest of says that it is unverified.
    said = Counter(found.verified for found in public)
    text = (ROOT / "configs/backbones/metafile.yml").read_text(encoding="utf-8")
    assert said[False] == text.count("Checked: unverified")
    assert all(found.verified for found in files if found.url is None)


def test_a_model_by_name_file_or_config_is_one_model():
    by_name = get_model("tiny_zero_shot", pretrained=True)
    assert not by_name.training
    assert by_name.cfg.filename == str(ZERO_SHOT)
    wanted = weights_in(init_model(ZERO_SHOT, WEIGHTS))
    for model in (
        by_name,
        get_model(str(ZERO_SHOT), pretrained=True),
        get_model("uniadapter::tiny/msrvtt_zero_shot.py", pretrained="blip_tiny"),
        get_model(Config.fromfile(ZERO_SHOT), pretrained=str(WEIGHTS)),
    ):
        found = weights_in(model)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    random = weights_in(get_model(ZERO_SHOT))
    assert not all(torch.equal(random[name], wanted[name]) for name in wanted)


def test_options_of_the_model_are_changed_and_the_config_is_not():
    config = Config.fromfile(ROOT / "configs/tiny/msrvtt_r32.py")
    model = get_model(config, pretrained="blip_tiny", adapter={"bottleneck": 8}, device="cpu")
    assert model.adapter.options["bottleneck"] == 8
    assert config.model.adapter.bottleneck == 32
    assert torch.equal(model.text_proj.weight, load_file(WEIGHTS)["text_proj.weight"])
    with pytest.raises(ValueError, match="colour"):
        get_model(config, colour=1)


@pytest.mark.parametrize(
    ("model", "pretrained", "error", "said"),
    [
        ("tiny_zero_shots", False, ValueError, "Did you mean 'tiny_zero_shot'"),
        (3, False, ValueError, "A model is a name of list_models"),
        ("tiny_zero_shot", 3, ValueError, "True, False, a file or a name"),
        ("tiny_zero_shot", "blip_tinny", FileNotFoundError, "Did you mean 'blip_tiny'"),
        ("tiny_zero_shot", "none.pth", FileNotFoundError, "none.pth"),
        ("tiny_uniadapter_r32", True, ValueError, "No weights of tiny_uniadapter_r32 are"),
        ("tiny_zero_shot", "clip_b32", FileNotFoundError, r"download clip_b32.*ViT-B-32\.pt"),
        ("none.py", False, FileNotFoundError, r"none\.py does not exist"),
    ],
)
def test_what_can_t_be_had_is_named(model, pretrained, error, said):
    with pytest.raises(error, match=said):
        get_model(model, pretrained)


def test_weights_of_the_paper_alone_say_so():
    with pytest.raises(ValueError, match=r"its figures are the paper's \(paper, table"):
        weights_of("uniadapter_msrvtt_r512")


def test_three_in_one_call_rank_as_their_parts():
    model, preprocess, tokenizer = load_model_and_preprocess("tiny_zero_shot")
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8))
    texts = ["A red ball.", "two boxes"]
    with torch.no_grad():
        media = model.encode_visual(preprocess(pictures))[1]
        words = model.encode_text(*tokenizer(texts))[1]
    torch.testing.assert_close(media, encode_image(model, pictures), atol=2e-6, rtol=0)
    torch.testing.assert_close(words, encode_text(model, texts), atol=2e-6, rtol=0)


def test_the_backbone_of_a_config_is_found_in_the_user_s_folder(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("uniadapter.apis.model.print_log", lambda text, *_: said.append(text))
    options = {"model.pretrained": "checkpoints/mine.safetensors"}
    init_model(ZERO_SHOT, cfg_options=options)
    assert "random: no checkpoint was given, and checkpoints/mine" in said.pop()
    file = tmp_path / "home/checkpoints/mine.safetensors"
    file.parent.mkdir(parents=True)
    file.symlink_to(WEIGHTS)
    model = init_model(ZERO_SHOT, cfg_options=options)
    assert torch.equal(model.text_proj.weight, load_file(WEIGHTS)["text_proj.weight"])
    assert said == []


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A project of one model, whose weights a server has in BLIP's layout."""
    served, project = tmp_path / "served", tmp_path / "project"
    served.mkdir()
    official = served / "model_base.pth"
    convert_checkpoint(WEIGHTS, official, ZERO_SHOT, target="blip")
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    handler.log_message = lambda *_: None
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    foreign = {
        "Weights": f"http://127.0.0.1:{running.server_port}/{official.name}",
        "File": "blip_model_base.pth",
        "Layout": "blip",
        "SHA256": hashlib.sha256(official.read_bytes()).hexdigest(),
        "Size": official.stat().st_size,
    }
    entry = {
        "Name": "public",
        "Config": os.path.relpath(ZERO_SHOT, ROOT),
        "Converted From": foreign,
    }

    def write():
        (project / "a").mkdir(parents=True, exist_ok=True)
        (project / "model-index.yml").write_text("Import: [a/metafile.yml]")
        (project / "a/metafile.yml").write_text(yaml.safe_dump({"Models": [entry]}))
        model_index.models_by_name.cache_clear()
        return foreign

    if not (project / "configs").exists():
        project.mkdir()
        (project / "configs").symlink_to(ROOT / "configs")
    monkeypatch.setattr(paths, "resources_root", lambda: project)
    monkeypatch.setattr(model_index, "resources_root", lambda: project)
    monkeypatch.chdir(ROOT)
    write()
    yield write
    running.shutdown()
    running.server_close()
    model_index.models_by_name.cache_clear()


def test_public_weights_are_fetched_when_asked_and_then_found(shelf, tmp_path, capsys):
    target = tmp_path / "home/checkpoints/blip_model_base.pth"
    with pytest.raises(FileNotFoundError, match=rf"download=True.*as {target}\."):
        get_model("public", pretrained=True)
    assert not target.exists()
    model = get_model("public", pretrained=True, download=True)
    assert find_weights("public") == target
    wanted = load_file(WEIGHTS)
    adapted = get_model(ROOT / "configs/tiny/msrvtt_r32.py", pretrained="public")
    for one in (model, adapted):
        assert torch.equal(one.text_proj.weight, wanted["text_proj.weight"])
        assert torch.equal(one.visual.pos_embed, wanted["visual.pos_embed"])
    assert download(["public"]) == 0
    assert capsys.readouterr().out.strip().endswith(f"public: {target} (sha256 is right)")


def test_weights_in_the_project_s_folder_are_found_without_a_network(shelf, tmp_path):
    foreign = shelf()
    found = find_weights("public", download=True)
    beside = tmp_path / "project/checkpoints/blip_model_base.pth"
    beside.parent.mkdir()
    found.rename(beside)
    foreign["Weights"] = "http://127.0.0.1:9/model_base.pth"
    shelf()
    assert find_weights("public", download=True) == beside
    assert paths.find_file("checkpoints/blip_model_base.pth") == beside


def test_another_file_is_refused_wherever_it_is(shelf, tmp_path, capsys):
    target = tmp_path / "home/checkpoints/blip_model_base.pth"
    target.parent.mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, target)
    with pytest.raises(ValueError, match=r"bytes, where .* It is not the file of 'public'"):
        find_weights("public")
    target.unlink()
    foreign = shelf()
    foreign["SHA256"] = "0" * 64
    shelf()
    assert download(["public"]) == 1
    assert "thrown away" in capsys.readouterr().err
    assert list(target.parent.iterdir()) == []


def test_weights_that_nobody_can_check_say_so(shelf, capsys):
    foreign = shelf()
    foreign["SHA256"] = foreign["Size"] = None
    shelf()
    assert download(["public"]) == 0
    assert "(unverified)" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no model 'none'"):
        find_weights("none")
