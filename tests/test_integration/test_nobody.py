"""Folders that can't be written to, and a user without a home: it works, or one error says why."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.inference_helpers import clips_model, clips_world
from tests.nobody import Outcome, as_nobody, needs_nobody, readable
from tests.page_helpers import served
from tests.search_helpers import RATE, StubEngine, write_picture
from uniadapter.apis.inferencers import TextToVideoRetrievalInferencer
from uniadapter.apis.testing import Kept, run_test
from uniadapter.apis.weights import find_weights
from uniadapter.checkpoints.adapter import save_adapter
from uniadapter.cli.commands import encode, export, serve
from uniadapter.datasets.feature_stores.writing import FeatureWriter
from uniadapter.search.index import SearchIndex
from uniadapter.search.page.catalog import preview_folder
from uniadapter.search.reading import ReadOptions
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import update_index
from uniadapter.utils.download import download, sha256_of
from uniadapter.utils.safe_folders import create_file, staged_folder

pytestmark = needs_nobody


def tree(folder: Path) -> dict[str, bytes | None]:
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}


def refused(call: Callable[[], Any], folder: Path) -> str:
    """The one error of a call that has to write to a folder; nothing is left in it."""
    before = tree(folder)
    found = as_nobody(call)
    assert found.meant, found
    assert tree(folder) == before
    text = str(found.error)
    assert str(folder) in text
    assert "\n" not in text.strip()
    return text


def works(call: Callable[[], Any], **options: Any) -> Any:
    found: Outcome = as_nobody(call, **options)
    assert found.error is None, found
    return found.value


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that everybody reads and nobody writes to."""
    folder = tmp_path / "place"
    folder.mkdir()
    return readable(folder)


def _staged(folder: Path) -> None:
    with staged_folder(folder) as inside:
        (inside / "x").touch()


WRITERS: dict[str, Callable[[Path], Any]] = {
    "folder": lambda place: _staged(place / "new"),
    "same folder": _staged,
    "file": lambda place: create_file(place / "new" / "x", b""),
    "download": lambda place: download("http://127.0.0.1:9/x", place / "new" / "x"),
    "features": lambda place: FeatureWriter(str(place / "new"), "npz"),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_one_error_names_the_place_and_what_to_do(name: str, place: Path):
    text = refused(partial(WRITERS[name], place), place)
    assert text.endswith(": make it writable, or name another place.")


def test_a_download_that_is_there_is_read(place: Path):
    (place / "x").write_bytes(b"whole")
    readable(place)
    digest = sha256_of(place / "x")
    call = partial(download, "http://127.0.0.1:9/x", place / "x", digest)
    assert works(call) == place / "x"
    (place / "x.part").write_bytes(b"who")
    assert works(call) == place / "x"


def test_a_user_without_a_home(tmp_path: Path):
    found = as_nobody(lambda: find_weights("blip_base", download=True))
    assert found.meant
    assert "set UNIADAPTER_HOME" in str(found.error)
    # One where nobody may look, one that isn't there and can't be made.
    tmp_path.chmod(0o700)
    for home in (str(tmp_path / "none"), "/"):
        found = as_nobody(lambda: find_weights("blip_base", download=True), home)
        assert found.meant
        assert f"{home.rstrip('/')}/.cache/uniadapter" in str(found.error)
        assert "make it writable" in str(found.error)
        assert "blip_tiny" in works(lambda: str(find_weights("blip_tiny")), home=home)


def indexed(place: Path) -> tuple[SearchIndex, StubEngine]:
    for number in range(3):
        write_picture(place / f"p{number}.png", number)
    engine = StubEngine()
    index = SearchIndex.create(place / "index", engine, ReadOptions(frame_rate=RATE), place)
    update_index(index, engine)
    readable(place)
    return index, engine


def test_an_index_is_searched_and_served_and_its_update_refused(place: Path):
    index, engine = indexed(place)

    def search() -> list[str]:
        return [hit.path for hit in Searcher(index.reopened(), engine).search("red").hits]

    assert sorted(works(search)) == ["p0.png", "p1.png", "p2.png"]

    def previews() -> tuple[Path, bool]:
        folder, temporary = preview_folder(index)
        (folder / "x").touch()
        if temporary is not None:
            temporary.cleanup()
        return folder, folder.exists()

    folder, left = works(previews)
    assert place not in folder.parents
    assert not left
    assert "can't be written to" in refused(lambda: update_index(index.reopened(), engine), place)
    refused(partial(SearchIndex.create, place / "other", engine), place)


def test_the_page_as_a_whole(place: Path, monkeypatch: pytest.MonkeyPatch):
    """From the command to Ctrl-C; nothing is written beside the index."""
    pytest.importorskip("fastapi")
    index, engine = indexed(place)
    monkeypatch.setattr(serve, "open_searcher", lambda *_: Searcher(index.reopened(), engine))
    routes = ("", "api/status", "api/search?text=red", "media/1", "thumb/1")
    # What is imported on the way may lie where nobody may look.
    with served(Searcher(index, engine)) as address:
        assert {fetched(address + "/" + route)[0] for route in routes} == {200}
    readable(place)
    before = tree(place)

    def run() -> dict[str, tuple[int, bytes]]:
        answers: dict[str, tuple[int, bytes]] = {}
        said = cast(io.StringIO, sys.stderr)

        def ask() -> None:
            try:
                until = time.monotonic() + 60
                while not (found := re.search(r"at (http\S+)", said.getvalue())):
                    assert time.monotonic() < until
                    time.sleep(0.02)
                for route in routes:
                    answers[route] = fetched(found[1] + route)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=ask)
        thread.start()
        serve.main(["--port", "0"])
        thread.join()
        return answers

    answers = works(run)
    assert tree(place) == before
    # Where nobody may run the interpreter there are no previews, and a reason.
    status, content = answers.pop("thumb/1")
    assert status == 200 or (status == 422 and "can't be started" in json.loads(content)["message"])
    assert [status for status, _ in answers.values()] == [200] * 4
    assert answers["media/1"][1] == (place / "p0.png").read_bytes()
    assert len(json.loads(answers["api/search?text=red"][1])["hits"]) == 3


def fetched(address: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(address, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_encoding_and_exporting(place: Path, monkeypatch: pytest.MonkeyPatch):
    """What can't be written is refused; media that may only be read are encoded elsewhere."""
    pytest.importorskip("pyarrow")
    indexed(place)
    monkeypatch.setattr(encode, "engine_of", lambda *_: StubEngine())
    argv = [str(place), "--model", "m", "--workers", "0", "--frames", str(RATE)]
    text = refused(lambda: encode.main([*argv, "--out", str(place / "new")]), place)
    assert text.startswith("error: ")

    def encoded() -> int:
        with tempfile.TemporaryDirectory() as folder:
            assert encode.main([*argv, "--out", f"{folder}/out"]) == 0
            return len(list(Path(folder, "out").glob("*.parquet")))

    assert works(encoded) == 1
    # Before a model is built, which this name has none of.
    asked = ["no_such", "--out", str(place / "new"), "--format", "torch"]
    refused(lambda: export.main(asked), place)


@pytest.fixture(scope="module")
def world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readable(clips_world(tiny_world, tmp_path_factory.mktemp("world")))


@pytest.fixture(scope="module")
def model(world: Path) -> Any:
    return clips_model(world)


def test_caches_of_an_inferencer(world: Path, model: Any, place: Path):
    """A cache that is there is read; one that can't be written is refused before all else."""
    clips = str(world / "clips")
    cache = place / "cache.safetensors"
    options = {"prototype_cache": cache, "show_progress": False}

    def scores(**more: Any) -> list[Any]:
        finder = TextToVideoRetrievalInferencer(model, clips, **{**options, **more})
        return finder("red")

    def unread(**more: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(model), "encode_visual", None)
            scores(**more)

    refused(unread, place)
    known = scores()
    readable(place)
    # What is read from a file lies elsewhere in memory, which may round otherwise.
    ((read,), (made,)) = works(scores), known
    of_read, of_made = ({row["sample_idx"]: row for row in rows} for rows in (read, made))
    assert of_read.keys() == of_made.keys()
    for index, row in of_made.items():
        for key in ("match_score", "similarity"):
            assert of_read[index][key] == pytest.approx(row[key], abs=1e-5)
    refused(partial(unread, gallery_dir=str(place / "tokens")), place)


def test_adapters_and_predictions(model: Any, place: Path):
    refused(lambda: save_adapter(model, place / "new" / "x_adapter"), place)
    save_adapter(model, place / "adapter")
    readable(place)
    refused(lambda: save_adapter(model, place / "adapter"), place)
    runner = SimpleNamespace(test_loop=None)
    refused(lambda: run_test(runner, Kept(out=str(place / "new" / "metrics.json"))), place)
