"""The page of an index on the disk, updated while it runs; the engine needs no model."""

from __future__ import annotations

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.page_helpers import client_of, fake_media
from tests.search_helpers import RATE, StubEngine, write_frames, write_picture
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import update_index

pytest.importorskip("fastapi")


def test_a_folder_its_index_and_an_update(tmp_path: Path) -> None:
    root, engine = fake_media(tmp_path / "media"), StubEngine()
    write_frames(root / "frames", 3, 7)
    index = SearchIndex.create(root / ".uniadapter", engine, ReadOptions(1.0, RATE))
    update_index(index, engine)
    searcher = Searcher(SearchIndex.open(root), engine)
    with client_of(searcher) as client:
        found = client.get("/api/search", params={"text": "a bird runs", "topk": 50}).json()
        hits = searcher.search("a bird runs", topk=50).hits
        assert [hit["shot_id"] for hit in found["hits"]] == [hit.shot_id for hit in hits]
        assert [hit["score"] for hit in found["hits"]] == [hit.score for hit in hits]
        assert {hit["path"] for hit in found["hits"]} == {
            *("day/one.mp4", "day/two.avi", "night/three.webm", "night/four.png", "frames")
        }
        for hit in found["hits"]:
            assert client.get(hit["thumb"]).status_code == 200
            assert client.head(hit["play"]["url"]).status_code == 200
            assert hit["play"]["start"] <= hit["play"]["at"] <= hit["play"]["end"]
        # A clip of the second shot shows its own frames.
        shot = next(
            hit for hit in found["hits"] if (hit["path"], hit["start"]) == ("day/two.avi", 1)
        )
        assert shot["play"]["start"] == 0.0
        with av.open(io.BytesIO(client.get(shot["play"]["url"]).content)) as clip:
            greys = [frame.to_ndarray(format="gray").mean() for frame in clip.decode(video=0)]
        assert greys == pytest.approx([60 + 20 * n / 8 for n in range(8)], abs=4)

        picture = (root / "night/four.png").read_bytes()
        reply = client.post("/api/search", files={"file": picture}, data={"kind": "image"})
        assert [hit["path"] for hit in reply.json()["hits"]] == ["night/four.png"]
        assert reply.json()["hits"][0]["similarity"] == pytest.approx(1.0, abs=1e-5)

        write_picture(root / "night/five.png", 5)
        (root / "day/one.mp4").unlink()
        update_index(SearchIndex.open(root), engine)
        after = client.get("/api/search", params={"text": "a bird runs", "topk": 50}).json()
        assert after["version"] != found["version"]
        paths = {hit["path"] for hit in after["hits"]}
        assert "night/five.png" in paths
        assert "day/one.mp4" not in paths
        status = client.get("/api/status").json()
        assert (status["videos"], status["images"]) == (3, 2)

        SearchIndex.create(root / ".uniadapter", StubEngine(name="other"), ReadOptions(1.0))
        reply = client.get("/api/search", params={"text": "a bird runs"})
        assert (reply.status_code, reply.json()["code"]) == (503, "index_unusable")
        assert "was made with" in reply.json()["message"]


def test_a_folder_of_frames(tmp_path: Path) -> None:
    root, engine = tmp_path / "media", StubEngine()
    write_frames(root / "frames", 3, 8)
    index = SearchIndex.create(tmp_path / "index", engine, ReadOptions(2.0, RATE), root)
    update_index(index, engine)
    with client_of(Searcher(index, engine)) as client:
        hits = client.get("/api/search", params={"text": "bird"}).json()["hits"]
        assert sorted(hit["start"] for hit in hits) == [0.0, 2.0]
        hit = next(hit for hit in hits if hit["start"] == 2.0)
        assert hit["play"]["url"] == f"/preview/{hit['shot_id']}"
        with av.open(io.BytesIO(client.get(hit["play"]["url"]).content)) as clip:
            frames = [(f.time, f.to_ndarray(format="rgb24")) for f in clip.decode(video=0)]
        assert [time for time, _ in frames] == pytest.approx([0, 0.5, 1.0, 1.5])
        thumb = client.get(f"/thumb/{hit['shot_id']}", params={"at": 3.1}).content
        wanted = np.asarray(Image.open(root / "frames/006.png").convert("L"), float)
        shown = np.asarray(Image.open(io.BytesIO(thumb)).convert("L"), float)
        assert np.abs(shown - wanted).mean() < 6
        assert np.abs(frames[2][1].mean(-1) - wanted).mean() < 30
        assert client.get(f"/media/{hit['file_id']}").json()["code"] == "folder_of_frames"
        os.utime(root / "frames/001.png")
        assert client.get(f"/thumb/{hit['shot_id']}?at=3.9").status_code == 409


def test_made_anew_at_another_pace(tmp_path: Path) -> None:
    root, engine = tmp_path / "media", StubEngine()
    write_frames(root / "frames", 3, 8)
    place = tmp_path / "index"
    update_index(SearchIndex.create(place, engine, ReadOptions(9.0), root), engine)
    with client_of(Searcher(SearchIndex.open(place), engine)) as client:
        # Pictures, then videos: the preview of one pace is not shown for the other.
        for pace in (RATE, 2 * RATE):
            index = SearchIndex.create(place, engine, ReadOptions(9.0, pace), root)
            update_index(index, engine)
            assert client.get("/api/status").json()["videos"] == 1
            [hit] = client.get("/api/search", params={"text": "bird"}).json()["hits"]
            thumb = client.get(f"/thumb/{hit['shot_id']}", params={"at": 1.1})
            wanted = Image.open(root / f"frames/{int(1.1 * pace):03}.png").convert("L")
            shown = np.asarray(Image.open(io.BytesIO(thumb.content)).convert("L"), float)
            assert np.abs(shown - np.asarray(wanted, float)).mean() < 6
