"""A model from the folder of an adapter alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import ROOT, tiny_retrieval_cfg, write_vocab
from tests.model_helpers import outputs, randomize, same, seeded_model, tiny_batch
from tests.shared_helpers import edit, put, refused, shared_model
from tests.test_models.test_adapters.contract import METHODS, MODELS, Method, Model
from tests.test_models.test_adapters.contract_models import Outputs, write_files
from uniadapter.apis import AutoAdapterModel, auto, build_model, init_model
from uniadapter.checkpoints import load_adapter, write
from uniadapter.checkpoints.files import CONFIG_NAME, WEIGHTS_NAME
from uniadapter.checkpoints.shared import BACKBONE_NAME, CARD_NAME

_CORE = {
    *(("uniadapter", name) for name in ("vqa", "caption", "albef", "t5")),
    *(("lora", name) for name in ("clip", "vqa")),
    *((name, "blip_video") for name in ("compacter", "peft-dora", "prompt", "bitfit", "unipt")),
    *((name, "caption") for name in ("mam", "peft-ia3")),
}


def _pairs() -> list[Any]:
    found = []
    for name, method in METHODS.items():
        for kind, model in MODELS.items():
            config = method.config_for(model) if kind not in method.refuses else {}
            if model.task and isinstance(config.get("type"), str):
                marks = [] if (name, kind) in _CORE else [pytest.mark.deep]
                found.append(pytest.param(method, model, id=f"{name}-{kind}", marks=marks))
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("shared"))


def equal(one: Outputs, other: Outputs) -> bool:
    return all(
        torch.equal(a, b) for role in one for a, b in zip(one[role], other[role], strict=True)
    )


@pytest.mark.parametrize(("method", "model"), _pairs())
def test_the_folder_is_the_model(method: Method, model: Model, files: Path, tmp_path: Path) -> None:
    saved = randomize(model.build(method.config_for(model), files).eval())
    saved.save_pretrained(tmp_path, with_backbone=True)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        found = AutoAdapterModel.from_pretrained(tmp_path)
    assert not found.training
    assert equal(model.outputs(saved), model.outputs(found))
    # What was loaded is saved as it was.
    again = tmp_path / "again"
    found.save_pretrained(again, with_backbone=True)
    names = (CONFIG_NAME, WEIGHTS_NAME, BACKBONE_NAME)
    assert all((again / n).read_bytes() == (tmp_path / n).read_bytes() for n in names)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model, and a folder with its backbone beside it."""
    folder = tmp_path_factory.mktemp("whole")
    model = shared_model(folder)
    return model, model.save_pretrained(folder / "adapter", with_backbone=True)


def test_the_json_says_what_the_model_is(whole: tuple[Any, Path]) -> None:
    model, folder = whole
    config = json.loads((folder / CONFIG_NAME).read_text())
    assert config["tokenizer"] == {"type": "BertTokenizer", "vocab_file": "vocab.txt"}
    assert (config["image_size"], config["text_length"]) == (32, 35)
    mean = model.data_preprocessor.mean.flatten()
    assert torch.equal(torch.tensor(config["mean"]), mean)
    digest = hashlib.sha256((folder / BACKBONE_NAME).read_bytes()).hexdigest()
    assert config["backbone"] == {
        "name": "backbone",
        "file": BACKBONE_NAME,
        "sha256": digest,
        "url": None,
    }
    found = AutoAdapterModel.from_pretrained(folder)
    texts = ["a red square moves", "dot"]
    assert torch.equal(found.tokenizer(texts)[0], model.tokenizer(texts)[0])


def test_the_folder_is_one_of_load_adapter(whole: tuple[Any, Path], tmp_path: Path) -> None:
    """What loaded adapters before loads these folders as well."""
    model, folder = whole
    other = randomize(seeded_model(tiny_retrieval_cfg(write_vocab(tmp_path / "v.txt"))), seed=9)
    load_adapter(other.eval(), folder)
    assert same(outputs(other, tiny_batch()), outputs(model, tiny_batch()))


def _backbone(model: Any, path: Path) -> Path:
    parts = ("visual.", "text.", "vision_proj.", "text_proj.", "itm_head.", "temp")
    state = model.state_dict()
    write(path, {name: tensor for name, tensor in state.items() if name.startswith(parts)})
    return path


def test_the_backbone_is_found_by_name_and_sha256(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shared_model(tmp_path)
    path = _backbone(first, tmp_path / "there" / "tiny_towers.safetensors")
    config = tiny_retrieval_cfg(tmp_path / "vocab.txt", pretrained=str(path))
    model = build_model(config)
    model.init_weights()
    randomize(model, seed=5).eval()
    folder = model.save_pretrained(tmp_path / "adapter", backbone_url="https://x.org/t.safetensors")
    assert not (folder / path.name).exists()
    entry = json.loads((folder / CONFIG_NAME).read_text())["backbone"]
    assert (entry["name"], entry["file"]) == ("tiny_towers", "tiny_towers.safetensors")
    want = outputs(model, tiny_batch())

    def loads(**options: Any) -> bool:
        found = AutoAdapterModel.from_pretrained(folder, **options)
        return same(outputs(found, tiny_batch()), want)

    home = tmp_path / "home"
    monkeypatch.setenv("UNIADAPTER_HOME", str(home))
    with pytest.raises(FileNotFoundError) as raised:
        loads()
    for part in (path.name, entry["sha256"], str(home), "backbone=", "https://x.org"):
        assert part in str(raised.value)
    assert loads(backbone=path)
    # Under another name, given by hand.
    assert loads(backbone=shutil.copy(path, tmp_path / "renamed.safetensors"))
    (home / "checkpoints").mkdir(parents=True)
    shutil.copy(path, home / "checkpoints" / path.name)
    assert loads()
    # One of the same name with other weights is passed over.
    _backbone(shared_model(tmp_path, embed_dim=16), folder / path.name)
    other = seeded_model(tiny_retrieval_cfg(), seed=3)
    _backbone(other, folder / path.name)
    assert loads()
    with pytest.raises(ValueError, match="trained on a backbone with other weights"):
        loads(backbone=folder / path.name)
    with pytest.raises(FileNotFoundError, match=r"backbone=nothing.pth does not exist"):
        loads(backbone="nothing.pth")
    (home / "checkpoints" / path.name).unlink()
    fetched = []

    def fetch(url: str, target: Path, sha256: str) -> Path:
        fetched.append((url, sha256))
        return Path(shutil.copy(path, target))

    monkeypatch.setattr(auto, "download_file", fetch)
    with pytest.raises(FileNotFoundError, match="download=True fetches it"):
        loads()
    assert loads(download=True)
    assert loads()
    assert fetched == [("https://x.org/t.safetensors", entry["sha256"])]


def test_what_others_could_not_load_is_not_saved(tmp_path: Path) -> None:
    model = shared_model(tmp_path)
    with pytest.raises(ValueError, match="pass with_backbone=True"):
        model.save_pretrained(tmp_path / "a")
    model.pretrained = str(tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match=r"gone.safetensors does not exist"):
        model.save_pretrained(tmp_path / "a")
    model.cfg = None
    with pytest.raises(ValueError, match="does not know its config"):
        model.save_pretrained(tmp_path / "a", with_backbone=True)
    scale = {"model": {**tiny_retrieval_cfg(), "adapter": {"scale": float("inf")}}}
    with pytest.raises(ValueError, match=r"model.adapter.scale=inf is no number of JSON"):
        model.save_pretrained(tmp_path / "a", scale, with_backbone=True)
    with torch.no_grad():
        model.temp.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"temp holds values that are not finite"):
        model.save_pretrained(tmp_path / "a", {"model": tiny_retrieval_cfg()}, with_backbone=True)
    assert not (tmp_path / "a" / CONFIG_NAME).exists()


def test_a_full_fine_tuning_needs_no_backbone(tmp_path: Path) -> None:
    model = shared_model(tmp_path, adapter=None, train_backbone=True)
    found = AutoAdapterModel.from_pretrained(model.save_pretrained(tmp_path / "a"))
    assert same(outputs(found, tiny_batch()), outputs(model, tiny_batch()))
    with pytest.raises(ValueError, match="leaves no weights out"):
        AutoAdapterModel.from_pretrained(tmp_path / "a", backbone=tmp_path / "x.safetensors")


def test_an_answer_list_goes_along(tmp_path: Path) -> None:
    """The file that the config names is no other machine's; its answers are in the JSON."""
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(["red", "a blue dot"]))
    cfg = tiny_retrieval_cfg(write_vocab(tmp_path / "vocab.txt"), type="VQAModel", answer_list=None)
    for key in ("pfa", "embed_dim", "queue_size"):
        del cfg[key]
    cfg.update(answer_list=str(answers), decoder={**cfg["text"], "type": "BertDecoder"})
    folder = build_model(cfg).save_pretrained(tmp_path / "a", with_backbone=True)
    answers.unlink()
    assert str(tmp_path) not in (folder / CONFIG_NAME).read_text()
    assert AutoAdapterModel.from_pretrained(folder).answer_list == ["red", "a blue dot"]


def test_the_pipeline_of_the_test_data_goes_along(tmp_path: Path) -> None:
    steps = [
        {"type": "LoadVideo", "num_frames": 2, "backend": {"type": "frames"}},
        {"type": "VideoResize", "size": (32, 32)},
        {"type": "PackInputs"},
    ]
    model = shared_model(tmp_path)
    config = {**model.cfg, "test_dataloader": {"dataset": {"dataset": {"pipeline": steps}}}}
    folder = model.save_pretrained(tmp_path / "a", config, with_backbone=True)
    found = AutoAdapterModel.from_pretrained(folder)
    assert found.cfg.test_dataloader.dataset.pipeline[1].size == [32, 32]
    frames = torch.randint(0, 256, (3, 3, 40, 50), dtype=torch.uint8)
    assert found.transform.read_video(frames).shape == (2, 3, 32, 32)
    # Texts alone have no transform of pictures.
    edit(folder, put("pipeline", to=[{"type": "PackTexts"}]))
    assert AutoAdapterModel.from_pretrained(folder).transform is None
    for change, words in (
        ({"type": "os.getcwd"}, "pipeline.0.type='os.getcwd' is not registered"),
        ({"type": "PackInputs", "x": 1}, "its model can't be built"),
        ("PackInputs", "pipeline.0 has no type"),
    ):
        edit(folder, put("pipeline", to=[change, {"type": "PackInputs"}]))
        assert words in refused(folder)


@pytest.mark.deep
@pytest.mark.parametrize(
    "name",
    [
        *("vl_bart_image_single", "vl_t5_image_single", "t5_mrpc_lora", "t5_rte_unipt"),
        *("mdetr_unipt", "clip_vil_vqav2_unipt", "flickr30k_vse_unipt", "clip4clip_unipt"),
        *("coco_caption_r32", "flickr30k_beit3_r32", "flickr30k_clip_r32", "coco_full_finetune"),
    ],
)
def test_every_family_comes_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the project's own small backbones, which are found by name."""
    monkeypatch.chdir(ROOT)
    model = randomize(init_model(f"configs/tiny/{name}.py")).eval()
    found = AutoAdapterModel.from_pretrained(model.save_pretrained(tmp_path))
    own, theirs = model.state_dict(), found.state_dict()
    kept = [n for n in own if not n.startswith(("ema.", "queue.", "step"))]
    assert set(own) == set(theirs)
    assert [n for n in kept if not torch.equal(own[n], theirs[n])] == []


class _Hub:
    """Stands for huggingface_hub.HfApi."""

    calls: list[tuple[str, dict[str, Any]]] = []

    def __init__(self, token: str | None = None) -> None:
        self.calls.append(("token", {"token": token}))

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))

    def upload_folder(self, folder_path: str, **options: Any) -> Any:
        names = sorted(path.name for path in Path(folder_path).iterdir())
        self.calls.append(("upload_folder", {"names": names, **options}))
        return types.SimpleNamespace(commit_url="https://hub/commit")


def test_push_to_hub_uploads_the_folder(
    whole: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("huggingface_hub")
    module.HfApi = _Hub  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setattr(_Hub, "calls", [])
    done = whole[0].push_to_hub("me/tiny", token="t", private=True, with_backbone=True)
    assert done == "https://hub/commit"
    token, created, uploaded = _Hub.calls
    assert token[1] == {"token": "t"}
    assert created[1] == {"repo_id": "me/tiny", "private": True, "exist_ok": True}
    assert uploaded[1]["repo_id"] == "me/tiny"
    assert uploaded[1]["names"] == sorted(
        [CONFIG_NAME, WEIGHTS_NAME, BACKBONE_NAME, CARD_NAME, "vocab.txt"]
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        whole[0].push_to_hub("me/tiny", with_backbone=True)


def test_a_repository_of_the_hub_is_fetched_when_asked(
    whole: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("huggingface_hub")
    asked = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        return str(whole[1])

    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(FileNotFoundError, match=r"with download=True, a repository"):
        AutoAdapterModel.from_pretrained("me/tiny")
    found = AutoAdapterModel.from_pretrained("me/tiny", download=True)
    assert same(outputs(found, tiny_batch()), outputs(whole[0], tiny_batch()))
    assert asked == ["me/tiny"]


def test_a_config_of_a_file_goes_along(tmp_path: Path) -> None:
    """A model of init_model knows its config, whose file names no other machine has."""
    vocab = write_vocab(tmp_path / "vocab.txt")
    path = tmp_path / "config.py"
    path.write_text(f"model = {tiny_retrieval_cfg(vocab)!r}\n")
    model = init_model(path)
    model.save_pretrained(tmp_path / "a", with_backbone=True)
    assert str(tmp_path) not in (tmp_path / "a" / CONFIG_NAME).read_text()


def test_an_adapter_that_took_the_first_one_s_name(tmp_path: Path) -> None:
    """What is saved is what acts, whatever it is called."""
    model = shared_model(tmp_path)
    model.add_adapter("a", {"type": "LoRA", "rank": 2})
    model.set_adapter("a")
    model.delete_adapter("default")
    model.add_adapter("default", {"type": "LoRA", "rank": 3})
    model.set_adapter("default")
    found = AutoAdapterModel.from_pretrained(model.save_pretrained(tmp_path / "x", None, True))
    assert found.adapter.options["rank"] == 3
    assert same(outputs(found, tiny_batch()), outputs(model, tiny_batch()))
