from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tools.analysis_tools import benchmark_search as tool

SMALL = ["--vectors", "300", "--size", "8", "--queries", "4", "--shortlist", "20"]
SMALL += ["--galleries", "clustered", "uniform", "--ef-search", "30", "--nprobe", "2"]


def test_what_is_drawn_is_alike_and_normalised(tmp_path: Path) -> None:
    args = tool.parse_args(SMALL)
    for gallery in tool.GALLERIES:
        for name in ("one", "two"):
            folder = tmp_path / gallery / name
            folder.mkdir(parents=True)
            tool.draw_gallery(gallery, folder, args)
        files = [
            [tmp_path / gallery / n / f for n in ("one", "two")] for f in ("features", "queries")
        ]
        for one, two in files:
            rows = np.load(f"{one}.npy")
            assert np.array_equal(rows, np.load(f"{two}.npy"))
            assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        rows = np.load(tmp_path / gallery / "one" / "features.npy")
        cosines = (rows @ rows.T)[~np.eye(len(rows), dtype=bool)]
        assert (cosines.mean() > 0.2) == (gallery == "clustered")


def test_every_kind_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    pytest.importorskip("matplotlib")

    def here(argv: list[str], args: object, step: list[str]) -> dict:
        return tool.take_step(tool.parse_args([*argv, "--step", *step]))

    monkeypatch.setattr(tool, "apart", here)
    argv = [*SMALL, "--galleries", "clustered", "--build", "ivf_pq.nlist=4", "hnsw.m=8"]
    tool.main([*argv, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "search.json").read_text())
    assert [row["kind"] for row in found["rows"]] == list(tool.KINDS)
    assert found["rows"][0]["recall10"] == found["rows"][0]["recall"] == 1
    assert all(0 <= row["recall10"] <= 1 for row in found["rows"])
    assert all((row["disk_mib"] > 0) == (row["kind"] != "exact") for row in found["rows"])
    assert (tmp_path / "search.png").stat().st_size > 1000


def test_recalls() -> None:
    truth = np.arange(20)[None]
    found = np.append(np.arange(5, 20), [30, 31, 32, 33, 34])[None]
    assert tool.recalls(found, truth) == {"recall10": 0.5, "recall": 0.75}


def test_bad_options() -> None:
    for wrong in (["--vectors", "0"], ["--shortlist", "10"], ["--build", "flat.m=3"]):
        with pytest.raises(SystemExit):
            tool.parse_args([*SMALL, *wrong])
