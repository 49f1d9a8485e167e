"""TorchScript archives are read as torch reads them, without running anything of theirs."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from uniadapter.checkpoints.torchscript import read_torchscript

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Part(nn.Module):
    """Parameters, buffers, tied modules, numbers, and a tensor that is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.tied = self.conv
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("size", torch.tensor(3))
        self.mask = torch.zeros(2, 2)
        self.number = 5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.scale + self.mask.sum() + self.size


@pytest.mark.parametrize("way", ["script", "trace"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_tensors_of_torch(tmp_path: Path, way: str, dtype: torch.dtype) -> None:
    module = nn.Sequential(Part(), Part()).to(dtype).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == "script":
            program = torch.jit.script(module)
        else:
            inner = module[0].float()
            module = program = torch.jit.trace(inner, torch.randn(1, 3, 2, 2))
        program.save(str(tmp_path / "net.pt"))
    found, want = read_torchscript(tmp_path / "net.pt"), dict(program.state_dict())
    assert set(found) == set(want)
    for name, tensor in want.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


class _Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched_by_a_pickle"),)


def test_nothing_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps(_Evil(), protocol=2))
        archive.writestr("evil/constants.pkl", b"")
    with pytest.raises(ValueError, match=r"evil\.pt is damaged"):
        read_torchscript("evil.pt")
    assert not Path("touched_by_a_pickle").exists()


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        read_torchscript(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02.")
    with pytest.raises(ValueError, match="is damaged"):
        read_torchscript(path)
