from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).resolve().parents[2] / "tools" / "misc" / "browse_dataset.py"

CONFIG = """
default_scope = 'uniadapter'
train_dataloader = dict(
    dataset=dict(
        type='RetrievalJsonDataset',
        data_root={root!r},
        ann_file='own.jsonl',
        test_mode={test_mode},
        pipeline=[
            dict(type='LoadVideo', num_frames=3, sampling='random'),
            dict(type='VideoRandomResizedCrop', size=24),
            dict(type='CleanCaption'),
            dict(type='PackInputs'),
        ]))
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("browse_dataset", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three folders of red frames, the last of them without a frame."""
    lines = []
    for index in range(3):
        folder = tmp_path / f"clip {index}"
        folder.mkdir()
        lines.append(json.dumps({"media": folder.name, "text": f"Clip {index}! 東京 " * 20}))
        for number in range(4 if index < 2 else 0):
            Image.new("RGB", (40, 20), (255, 0, 0)).save(folder / f"{number}.png")
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    for name, test_mode in (("train.py", False), ("test.py", True)):
        (tmp_path / name).write_text(CONFIG.format(root=str(tmp_path), test_mode=test_mode))
    return tmp_path


@pytest.mark.parametrize("mode", ["original", "transformed", "pipeline"])
@pytest.mark.parametrize("config", ["train.py", "test.py"])
def test_pictures(
    tool: ModuleType,
    root: Path,
    mode: str,
    config: str,
    capsys: pytest.CaptureFixture,
) -> None:
    out = root / "out"
    tool.main([str(root / config), "-o", str(out), "--mode", mode, "--height", "50"])
    names = sorted(path.name for path in out.iterdir())
    assert names == ["train_000000_clip_0.png", "train_000001_clip_1.png"]
    printed = capsys.readouterr().out
    assert "2 pictures written" in printed
    assert "unreadable" in printed
    assert "clip 2" in printed
    picture = np.asarray(Image.open(out / names[0]))
    red = (picture == (255, 0, 0)).all(axis=-1)
    # Frames 50 high: 40x20 as decoded, square after the crop.
    widths = {"original": 100, "transformed": 50, "pipeline": 100 + 50}[mode]
    assert red.sum() == 3 * 50 * widths


def test_number_and_seed(tool: ModuleType, root: Path) -> None:
    pictures = []
    for name in ("a", "b"):
        arguments = ["--number", "1", "--shuffle", "--seed", "3", "--cfg-options"]
        option = "train_dataloader.dataset.indices=2"
        tool.main([str(root / "train.py"), "-o", str(root / name), *arguments, option])
        pictures.append([path.read_bytes() for path in (root / name).iterdir()])
    assert len(pictures[0]) == 1
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "val"], "there is no val_dataloader"),
        (["--cfg-options", "train_dataloader.dataset.ann_file=no.jsonl"], r"no\.jsonl"),
    ],
)
def test_bad_arguments(tool: ModuleType, root: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        tool.main([str(root / "train.py"), "-o", str(root / "out"), *arguments])
