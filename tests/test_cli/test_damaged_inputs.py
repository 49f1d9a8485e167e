"""Commands and scripts on files that are right but for one: they end well, or with one error.

What they leave behind is whole: a file that is there after an error was there before, unchanged.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import main_of, run_quietly
from tests.damage import damaged
from tests.helpers import draws, load_tool, tiny_retrieval_cfg, write_vocab
from tests.malformed import spoiled
from tests.search_helpers import RATE, StubEngine, write_picture
from tests.test_apis.test_publish import METAFILE, save_epoch
from tests.test_checkpoints.test_layouts.test_huggingface import write_folder
from tests.test_datasets.conftest import write_video
from tests.test_models.test_sentencepiece_tokenizer import train
from uniadapter.apis.extraction.encoders import GridEncoder
from uniadapter.checkpoints import write
from uniadapter.checkpoints.adapter import save_adapter
from uniadapter.cli.commands import export, index, search
from uniadapter.models.build import build_model
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import update_index

pytestmark = pytest.mark.filterwarnings("ignore")
#: A config is a program: of a damaged one too little is left to run.
OF_PROGRAMS = ("empty", "cut", "another file", "noise")
PARTS = ("visual.", "text.", "vision_proj.", "text_proj.", "itm_head.")
GRID = {"depths": [1, 1, 1, 1], "width": 4}
_numbers = itertools.count()


@dataclass(frozen=True)
class Case:
    """A command and the files that it is given.

    Attributes:
        command: Its name.
        write: Writes right files into a folder.
        spoil: Those that are damaged; of a pattern one is.
        argv: Its words, ``{w}`` for the folder.
    """

    command: str
    write: Callable[[Path], Any]
    spoil: tuple[str, ...]
    argv: str


def _config(folder: Path, **model: Any) -> None:
    cfg = tiny_retrieval_cfg("vocab.txt", **model)
    (folder / "run.py").write_text(f"model = {cfg!r}\n")
    write_vocab(folder / "vocab.txt")


def _foreign(folder: Path) -> None:
    _config(folder, adapter=None)
    write_folder(folder / "hf", build_model(tiny_retrieval_cfg(adapter=None)))


def _trained(folder: Path) -> None:
    _config(folder, pretrained="towers.safetensors")
    torch.manual_seed(0)
    model = build_model(tiny_retrieval_cfg())
    state = model.state_dict()
    write(folder / "towers.safetensors", {n: t for n, t in state.items() if n.startswith(PARTS)})
    torch.save({"state_dict": state}, folder / "whole.pth")
    (folder / "run").mkdir()
    save_epoch(model, folder / "run" / "epoch_1.pth")
    (folder / "run" / "last_checkpoint").write_text("epoch_1.pth")
    (folder / "metafile.yml").write_text(METAFILE)
    save_adapter(model, folder / "adapter")


def _logged(folder: Path) -> None:
    _trained(folder)
    log = folder / "run" / "2025" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"t2v/R1": 30.5, "step": 1}\n')


def _towers(folder: Path) -> None:
    there = pytest.importorskip("tests.test_checkpoints.test_layouts.test_vse")
    (folder / "run.py").write_text(f"model = {there.tiny_config().model.to_dict()!r}\n")
    for name, state in zip("ab", there.authors_pair(), strict=True):
        prefix = "module.backbone.resnet." if name == "a" else "module.bert."
        own = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        torch.save(own, folder / f"{name}.pth")


def _pieces(folder: Path) -> None:
    (folder / "a.spm").write_bytes(train("unigram"))


def _zoo(folder: Path) -> None:
    place, page = folder / "configs" / "method", "# Page\n\n{}\n{}\n"
    tool = load_tool("misc/generate_zoo.py")
    place.mkdir(parents=True)
    (folder / "docs" / "datasets").mkdir(parents=True)
    (place / "a.py").write_text("model = dict()\n")
    for path in (place / "README.md", folder / "docs" / "model_zoo.md"):
        path.write_text(page.format(tool.BEGIN, tool.END))
    text = METAFILE.replace("other.py", "configs/method/a.py").replace(
        "README.md", "configs/method/README.md"
    )
    (place / "metafile.yml").write_text(
        text + "    Results:\n      - {Task: A, Dataset: B, Metrics: {R: 1}, Source: 'paper, 1'}\n"
    )


def _data(folder: Path) -> None:
    for number in range(2):
        write_picture(folder / "clip" / f"{number}.png", number)
    (folder / "own.jsonl").write_text(json.dumps({"media": "clip", "text": "a text"}) + "\n")
    steps = [{"type": "LoadVideo", "num_frames": 2}, {"type": "CleanCaption"}]
    dataset = {
        "type": "RetrievalJsonDataset",
        "data_root": str(folder),
        "ann_file": "own.jsonl",
        "pipeline": [*steps, {"type": "PackInputs"}],
    }
    (folder / "run.py").write_text(
        f"default_scope = 'uniadapter'\ntrain_dataloader = dict(dataset={dataset!r})\n"
    )


def _video(folder: Path) -> None:
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "a.mp4", 3, 32, 32)


def _extracted(folder: Path) -> None:
    _video(folder)
    run_quietly(main_of(FRAMES), [str(folder / "videos"), str(folder / "out"), "--workers", "1"])


def _grids(folder: Path) -> None:
    write_picture(folder / "pictures" / "a.png", 1)
    torch.manual_seed(0)
    state = GridEncoder(GRID).model.state_dict()
    torch.save({f"visual.{name}": tensor for name, tensor in state.items()}, folder / "w.pt")


def _indexed(folder: Path) -> None:
    write_picture(folder / "media" / "a.png", 1)
    made = SearchIndex.create(
        folder / "media" / ".uniadapter", StubEngine(), ReadOptions(2.0, RATE), folder / "media"
    )
    update_index(made, StubEngine())


CONVERT = "model_converters/convert_checkpoint.py"
PUBLISH = "model_converters/publish_model.py"
FRAMES = "dataset_converters/extract_frames.py"
GRIDS = (
    "{w}/pictures {w}/out --weights {w}/w.pt --size 64 --workers 0 --device cpu --format npz "
    f"--arch {json.dumps(GRID).replace(' ', '')}"
)
INDEX = ("media/.uniadapter/*",)
CASES: dict[str, Case] = {
    "convert": Case(
        CONVERT,
        _foreign,
        ("hf/config.json", "hf/model.safetensors", "run.py"),
        "{w}/hf {w}/out.safetensors --from hf --config {w}/run.py --report {w}/out.json",
    ),
    "publish": Case(
        PUBLISH,
        _logged,
        ("run/epoch_1.pth", "run/last_checkpoint", "run/2025/vis_data/scalars.json")
        + ("metafile.yml", "towers.safetensors", "vocab.txt"),
        "{w}/run {w}/out --config {w}/run.py --metafile {w}/metafile.yml",
    ),
    "publish a folder": Case(
        PUBLISH,
        _trained,
        ("adapter/adapter_config.json", "adapter/adapter.safetensors"),
        "{w}/adapter {w}/out --config {w}/run.py",
    ),
    "publish a backbone": Case(
        PUBLISH, _trained, ("whole.pth",), "{w}/whole.pth {w}/out.safetensors"
    ),
    "pieces": Case(
        "model_converters/convert_sentencepiece.py", _pieces, ("a.spm",), "{w}/a.spm {w}/out.json"
    ),
    "join": Case(
        "model_converters/join_vse_towers.py",
        _towers,
        ("a.pth", "b.pth"),
        "--visual {w}/a.pth --text {w}/b.pth --config {w}/run.py --out {w}/out.safetensors",
    ),
    "zoo": Case(
        "misc/generate_zoo.py",
        _zoo,
        ("configs/method/metafile.yml", "configs/method/README.md", "configs/method/a.py")
        + ("docs/model_zoo.md",),
        "--root {w}",
    ),
    "verify": Case(
        "misc/verify_dataset.py",
        _data,
        ("own.jsonl", "clip/0.png"),
        "{w}/run.py --workers 1 --out {w}/out.json",
    ),
    "browse": Case(
        "misc/browse_dataset.py", _data, ("own.jsonl", "clip/0.png"), "{w}/run.py -o {w}/out"
    ),
    "count": Case(
        "analysis_tools/count_params.py", lambda f: _config(f), ("run.py",), "{w}/run.py"
    ),
    "config": Case("misc/print_config.py", lambda f: _config(f), ("run.py",), "{w}/run.py"),
    "frames": Case(FRAMES, _video, ("videos/a.mp4",), "{w}/videos {w}/out --workers 1"),
    "frames again": Case(
        FRAMES,
        _extracted,
        ("out/a/frames.json", "out/a/000001.jpg", "videos/a.mp4"),
        "{w}/videos {w}/out --workers 1",
    ),
    "grids": Case(
        "dataset_converters/extract_clip_grids.py", _grids, ("w.pt", "pictures/a.png"), GRIDS
    ),
    "export": Case(
        "export",
        _trained,
        ("adapter/adapter_config.json", "adapter/adapter.safetensors", "towers.safetensors")
        + ("vocab.txt", "run.py"),
        "{w}/run.py --checkpoint {w}/adapter --out {w}/out --format torch",
    ),
    "index": Case("index", _indexed, INDEX, "{w}/media --model m --workers 0"),
    "rebuild": Case("index", _indexed, INDEX, "{w}/media --model m --workers 0 --rebuild"),
    "check": Case("index", _indexed, INDEX, "{w}/media --check"),
    "search": Case("search", _indexed, INDEX, "a_text --index {w}/media"),
}


@pytest.fixture(scope="module")
def right(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A case and a folder with its right files."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("right")
    with pytest.MonkeyPatch.context() as patch:
        _patch(patch, folder)
        case.write(folder)
        yield case, folder


def _patch(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """What takes long stays in this process; what an export writes is tested elsewhere."""
    patch.chdir(folder)
    for script in (FRAMES, "misc/verify_dataset.py"):
        patch.setitem(
            vars(main_of(script))["__wrapped__"].__globals__, "map_in_processes", _in_turn
        )
    patch.setattr(export, "export_model", lambda *_, **__: None)
    patch.setattr(export, "report", lambda *_: "")
    patch.setattr(index, "engine_of", lambda *_: StubEngine())
    patch.setattr(
        search, "open_searcher", lambda place, *_: Searcher(SearchIndex.open(place), StubEngine())
    )


def _in_turn(func: Callable[..., Any], tasks: Any, *_: Any) -> list[Any]:
    return [func(*task) for task in tasks]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(case: Case, folder: Path, patch: pytest.MonkeyPatch) -> tuple[Any, str]:
    patch.chdir(folder)
    return run_quietly(main_of(case.command), case.argv.replace("{w}", str(folder)).split())


@pytest.mark.parametrize("right", CASES, indirect=True)
def test_right_files(right: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    case, folder = right
    place = Path(shutil.copytree(folder, tmp_path / "w"))
    assert run(case, place, monkeypatch)[0] == 0


@pytest.mark.parametrize("right", CASES, indirect=True)
@settings(max_examples=draws(2, deep=40))
@given(data=st.data())
def test_damaged(right: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    case, folder = right
    place = tmp_path_factory.getbasetemp() / f"damaged_input{next(_numbers)}"
    shutil.copytree(folder, place)
    names = sorted(path for name in case.spoil for path in place.glob(name) if path.is_file())
    spoil = data.draw(st.sampled_from(names))
    content = spoil.read_bytes()
    ways = [damaged(content, *(OF_PROGRAMS if spoil.suffix == ".py" else ()))]
    if spoil.suffix == ".json" and spoil.name != "scalars.json":
        ways.append(spoiled(json.loads(content)))
    spoil.write_bytes(data.draw(st.one_of(ways)))
    before = tree(place)
    with pytest.MonkeyPatch.context() as patch:
        status, said = run(case, place, patch)
    after = tree(place)
    assert not [name for name in after if name not in before and ".tmp" in name]
    if isinstance(status, str):
        assert status.startswith("error: "), status
        assert len(status) < 3000, status
        assert str(place) in status or spoil.name in status or "run.py" in status, status
        changed = {name for name in after if after[name] != before.get(name)}
        # An index is written in parts, of which the last counts.
        assert changed <= {name for name in changed if name.startswith("media/.uniadapter")}
        assert before.keys() <= after.keys()
    else:
        assert status in (0, 1), said
    shutil.rmtree(place)
