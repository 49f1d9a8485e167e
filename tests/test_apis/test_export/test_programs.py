"""Archives of torch.export are opened where they hold a graph and tensors alone."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from uniadapter.apis.export.programs import OnnxProgram, TorchProgram


class Double(torch.nn.Module):
    """What is written."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Twice x."""
        return (x * self.weight,)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "double.pt2"
    with torch.no_grad():
        program = torch.export.export(Double(), (), {"x": torch.ones(3)})
    torch.export.save(program, path)
    return path


class Trap:
    """Unpickled, it leaves a trace."""

    def __reduce__(self) -> tuple:
        return (exec, ("import builtins; builtins.trapped = True",))


def changed(archive: Path, path: Path, **entries: bytes) -> Path:
    """A copy in which entries whose names end so are others, or are added."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        names = source.namelist()
        root = names[0].partition("/")[0]
        for name in names:
            new = [value for end, value in entries.items() if name.endswith(end)]
            target.writestr(name, new[0] if new else source.read(name))
        for end, value in entries.items():
            if not any(name.endswith(end) for name in names):
                target.writestr(f"{root}/{end}", value)
    return path


def test_runs(archive):
    found = TorchProgram(archive, ["twice"])({"x": torch.arange(3.0)})
    assert found["twice"].tolist() == [0.0, 2.0, 4.0]


def test_code_is_refused(archive, tmp_path):
    trap = pickle.dumps(Trap())
    stored = io.BytesIO()
    torch.save(Trap(), stored)
    with zipfile.ZipFile(archive) as source:
        [config] = [n for n in source.namelist() if n.endswith("weights_config.json")]
        said = json.loads(source.read(config))
    for payload in said["config"].values():
        payload["use_pickle"] = True
    for number, entries in enumerate(
        (
            {"weights_config.json": json.dumps(said).encode()},
            {"weights_config.json": json.dumps(said, indent=1, separators=(",", " :  ")).encode()},
            {"sample_inputs/model.pt": stored.getvalue()},
            {"data/constants/opaque_obj_0": trap},
            {"data/constants/custom_obj_0": trap},
            {"data/weights/model.pt": stored.getvalue()},
            {"data/aotinductor/model/a.so": b"code"},
        )
    ):
        with pytest.raises(ValueError, match="refused"):
            TorchProgram(changed(archive, tmp_path / f"{number}.pt2", **entries), ["twice"])
    assert not hasattr(__import__("builtins"), "trapped")


def test_damaged(archive, tmp_path):
    path = tmp_path / "short.pt2"
    path.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"short.pt2.*damaged"):
        TorchProgram(path, ["twice"])
    with pytest.raises(ValueError, match=r"empty.pt2.*damaged"):
        TorchProgram(changed(archive, tmp_path / "empty.pt2", **{"model.json": b"{}"}), ["twice"])
    pytest.importorskip("onnxruntime")
    path = tmp_path / "text.onnx"
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match="text.onnx can't be run"):
        OnnxProgram(path, ["twice"])
