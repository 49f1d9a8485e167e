"""Publishing an adapter: from a run, a checkpoint or a folder to a folder for others."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.helpers import load_tool, tiny_retrieval_cfg, write_vocab
from tests.model_helpers import outputs, randomize, same, tiny_batch
from uniadapter.apis import AutoAdapterModel, init_model
from uniadapter.checkpoints import save_adapter, trained_state_dict, write
from uniadapter.checkpoints.card import About, write_card
from uniadapter.checkpoints.files import CONFIG_NAME, WEIGHTS_NAME
from uniadapter.checkpoints.state import backbone_fingerprint

COMMAND = "python tools/train.py configs/tiny_run.py"
METAFILE = """# A comment.
Collections:
  - Name: Tiny
    README: README.md
Models:
  - Name: other
    Config: other.py
    In Collection: Tiny
"""


@pytest.fixture(scope="module")
def tool() -> Any:
    return load_tool("model_converters/publish_model.py")


def save_epoch(model: Any, path: Path) -> None:
    """What a run saves: trained tensors, and whose backbone they need."""
    meta = {"backbone_sha256": backbone_fingerprint(model), "left_out": []}
    torch.save({"state_dict": trained_state_dict(model), "meta": meta}, path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model, and the folder of the run that trained it for two epochs."""
    root = tmp_path_factory.mktemp("run")
    vocab, backbone = write_vocab(root / "vocab.txt"), root / "towers.safetensors"
    parts = ("visual.", "text.", "vision_proj.", "text_proj.", "itm_head.")
    folder = root / "work_dirs" / "tiny_run"
    (folder / "20250101" / "vis_data").mkdir(parents=True)
    cfg = tiny_retrieval_cfg(vocab, pretrained=str(backbone))
    data = {"dataset": {"type": "RetrievalJsonDataset", "pipeline": [{"type": "PackInputs"}]}}
    (folder / "tiny_run.py").write_text(
        f"# {COMMAND}\nmodel = {cfg!r}\ntrain_dataloader = {data!r}\ntest_dataloader = {data!r}\n"
    )
    torch.manual_seed(0)
    write(
        backbone,
        {
            name: tensor
            for name, tensor in init_model(folder / "tiny_run.py").state_dict().items()
            if name.startswith(parts)
        },
    )
    model = randomize(init_model(folder / "tiny_run.py"), seed=3)
    save_epoch(randomize(init_model(folder / "tiny_run.py"), seed=4), folder / "epoch_1.pth")
    save_epoch(model, folder / "epoch_2.pth")
    (folder / "last_checkpoint").write_text(str(folder / "epoch_2.pth"))
    rows = [
        {"lr": 0.1, "loss": 3.0, "step": 1},
        {"t2v/R1": 20.0, "time": 0.1, "step": 1},
        {"lr": 0.1, "loss": 2.0, "step": 9},
        {"t2v/R1": 30.5, "skipped": 0, "data_time": 0.1, "step": 2},
    ]
    log = folder / "20250101" / "vis_data" / "scalars.json"
    # The last line is what a killed training leaves.
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"t2v/R1": 7')
    return model, folder


def published(tool: Any, *arguments: Any, capsys: pytest.CaptureFixture[str]) -> Path:
    tool.main([str(argument) for argument in arguments])
    lines = capsys.readouterr().out.splitlines()
    return Path(next(line for line in lines if line.startswith("written: "))[9:])


def loads(folder: Path, model: Any) -> bool:
    found = AutoAdapterModel.from_pretrained(folder, model.pretrained)
    return same(outputs(found, tiny_batch()), outputs(model, tiny_batch()))


def test_a_run(run: tuple[Any, Path], tool: Any, tmp_path: Path, capsys: Any) -> None:
    model, source = run
    folder = published(tool, source, tmp_path, "--licence", "mit", capsys=capsys)
    digest = hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    assert folder == tmp_path / f"tiny_run-{digest[:8]}"
    assert loads(folder, model)
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == sorted(["README.md", CONFIG_NAME, WEIGHTS_NAME, "vocab.txt"])
    card = (folder / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "mit"
    assert header["library_name"] == "uniadapter"
    assert header["tags"] == ["uniadapter", "adapter"]
    results = header["model-index"][0]["results"][0]
    assert results["metrics"] == [{"type": "t2v/R1", "name": "t2v/R1", "value": 30.5}]
    for part in (COMMAND, "RetrievalJsonDataset", "towers.safetensors", "UniAdapter", "30.5"):
        assert part in card
    with pytest.raises(SystemExit, match="exists already"):
        tool.main([str(source), str(tmp_path)])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_best_checkpoint_is_taken(
    run: tuple[Any, Path], tool: Any, tmp_path: Path, capsys: Any
) -> None:
    source = shutil.copytree(run[1], tmp_path / "run")
    shutil.copy(source / "epoch_1.pth", source / "best_t2v_R1_epoch_1.pth")
    best = published(tool, source, tmp_path / "a", capsys=capsys)
    first = published(tool, source / "epoch_1.pth", tmp_path / "b", capsys=capsys)
    assert best.name == first.name
    assert "| t2v/R1 | 20 |" in (best / "README.md").read_text()


def test_a_folder_and_what_is_given_by_hand(
    run: tuple[Any, Path], tool: Any, tmp_path: Path, capsys: Any
) -> None:
    model, source = run
    old = save_adapter(model, tmp_path / "old_adapter")
    config = source / "tiny_run.py"
    with pytest.raises(SystemExit, match=r"holds 0 configs .* with --config"):
        tool.main([str(old), str(tmp_path / "x")])
    given = ("--name", "mine", "--metrics", "R@1=12.5", "--data", "own", "--with-backbone")
    folder = published(tool, old, tmp_path / "new", "--config", config, *given, capsys=capsys)
    assert folder.name.startswith("mine-")
    assert "| R@1 | 12.5 |" in (folder / "README.md").read_text()
    # A folder that says all needs no config.
    again = published(tool, folder, tmp_path / "again", "--with-backbone", capsys=capsys)
    found = AutoAdapterModel.from_pretrained(again)
    assert same(outputs(found, tiny_batch()), outputs(model, tiny_batch()))


def test_figures_are_those_of_the_checkpoint_alone(
    run: tuple[Any, Path], tool: Any, tmp_path: Path, capsys: Any
) -> None:
    source = shutil.copytree(run[1], tmp_path / "run")
    shutil.copy(source / "epoch_2.pth", source / "mine.pth")
    shutil.copy(source / "epoch_2.pth", source / "epoch_7.pth")
    for number, name in enumerate(("mine.pth", "epoch_7.pth")):
        folder = published(tool, source / name, tmp_path / str(number), capsys=capsys)
        assert "| metric | value |" not in (folder / "README.md").read_text()


def test_the_card_says_how_a_repository_of_the_hub_is_loaded() -> None:
    meta = {"task": "RetrievalModel", "method": "LoRA", "parameters": 3}
    assert "from_pretrained('me/tiny', download=True)" in write_card("me/tiny", meta, About())
    assert "from_pretrained('tiny')" in write_card("tiny", meta, About())


def test_the_metafile_gets_an_entry(
    run: tuple[Any, Path], tool: Any, tmp_path: Path, capsys: Any
) -> None:
    metafile = tmp_path / "metafile.yml"
    metafile.write_text(METAFILE)
    config = run[1] / "tiny_run.py"
    more = ("--metafile", metafile, "--config", config)
    with pytest.raises(SystemExit, match="--config is needed"):
        tool.main([str(run[1]), str(tmp_path), "--metafile", str(metafile)])
    folder = published(tool, run[1], tmp_path, *more, capsys=capsys)
    assert metafile.read_text().startswith(METAFILE)
    entry = yaml.safe_load(metafile.read_text())["Models"][1]
    assert entry["Name"] == folder.name
    assert entry["In Collection"] == "Tiny"
    assert entry["Results"][0]["Metrics"] == {"t2v/R1": 30.5}
    assert entry["SHA256"].startswith(folder.name[-8:])
    shutil.rmtree(folder)
    with pytest.raises(SystemExit, match="already: take it out first"):
        tool.main([str(argument) for argument in (run[1], tmp_path, *more)])


def test_what_was_broken_off_is_finished_by_another_run(
    run: tuple[Any, Path], tool: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    metafile, out = tmp_path / "metafile.yml", tmp_path / "out"
    metafile.write_text(METAFILE)
    config = run[1] / "tiny_run.py"
    given = (run[1], out, "--config", config, "--metafile", metafile)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tool, "add_entry", killed)
        with pytest.raises(KeyboardInterrupt):
            tool.main([str(argument) for argument in given])
    [folder] = out.iterdir()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    # Of other options it is another.
    with pytest.raises(SystemExit, match="exists already: remove it, or give another --name"):
        tool.main([str(argument) for argument in (*given, "--licence", "mit")])
    assert metafile.read_text() == METAFILE
    assert published(tool, *given, capsys=capsys) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [entry["Name"] for entry in yaml.safe_load(metafile.read_text())["Models"]] == [
        "other",
        folder.name,
    ]
    with pytest.raises(SystemExit, match="already: take it out first"):
        tool.main([str(argument) for argument in given])
    assert [path.name for path in out.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (METAFILE + "More: 1\n", "must be its last part"),
        (METAFILE.replace("  - ", "- ").replace("    ", "  "), "indented by two"),
        ("Models: [", "not valid YAML"),
    ],
)
def test_a_metafile_that_takes_no_entry_is_refused_first(
    run: tuple[Any, Path], tool: Any, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "metafile.yml").write_text(content)
    more = ("--config", run[1] / "tiny_run.py", "--metafile", tmp_path / "metafile.yml")
    towers = run[1].parents[1] / "towers.safetensors"
    with pytest.raises(SystemExit, match=r"error: .*(no entry has `Weights|not valid YAML)"):
        tool.main([str(argument) for argument in (towers, tmp_path / "a.safetensors", *more)])
    with pytest.raises(SystemExit, match=said):
        tool.main([str(argument) for argument in (run[1], tmp_path / "out", *more)])
    assert [path.name for path in tmp_path.iterdir()] == ["metafile.yml"]


def test_what_is_no_source(tool: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nothing does not exist"):
        tool.main([str(tmp_path / "nothing"), str(tmp_path / "out")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"holds neither best_\*\.pth nor last_checkpoint"):
        tool.main([str(tmp_path / "empty"), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
