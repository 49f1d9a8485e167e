"""What is found equals what a plain loop over all shots finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.search_helpers import RATE, StubEngine, write_frames, write_picture
from uniadapter.datasets import MediaError
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import update_index

WORDS = ("red", "green", "a", "bird", "runs")
FOLDERS = (None, "", "a", "a/b", "a/b2", "./a/", "nothing")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("searched")
    for number, place in enumerate(["a", "a", "a/b", "a/b", "a/b2", "."]):
        write_picture(top / place / f"{number}.png", number)
    write_frames(top / "a/b/clip", 9, 11)
    write_frames(top / "clip", 8, 6)
    return top


def searcher_of(root: Path, engine: StubEngine) -> Searcher:
    folder = root / f".index_{engine.reranks}"
    if not folder.exists():
        index = SearchIndex.create(folder, engine, ReadOptions(2.0, RATE), root)
        update_index(index, engine)
    return Searcher(SearchIndex.open(folder), engine)


def expected(searcher: Searcher, features, texts, folder, kind, shortlist) -> list[tuple]:
    """Shots with score and similarity, best first."""
    snapshot, found = searcher.index.snapshot(), []
    wanted = [part for part in (folder or "").split("/") if part not in ("", ".")]
    for row, file_id in zip(snapshot.shot_rows, snapshot.shot_files, strict=True):
        file = snapshot.files[int(file_id)]
        if kind not in (None, file.kind) or file.path.split("/")[: len(wanted)] != wanted:
            continue
        media = snapshot.media(np.array([row]))
        similar = float(media.features.double()[0] @ features.double()[0])
        score = similar
        if shortlist:
            score = float(searcher.engine.score(media, texts)[0, 0])
        found.append((int(file_id), int(row), score, similar))
    found.sort(key=lambda one: -one[3])
    if shortlist:
        found = sorted(found[:shortlist], key=lambda one: -one[2])
    return found


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    st.sampled_from(FOLDERS),
    st.sampled_from([None, "video", "image"]),
    st.integers(1, 20),
    st.sampled_from([None, 0, 1, 5]),
    st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=draws(10), deadline=None)
def test_as_a_plain_loop(root, text, folder, kind, topk, shortlist, flags):
    reranks, per_file = flags
    engine = StubEngine(reranks)
    searcher = searcher_of(root, engine)
    found = searcher.search(text, None, None, topk, shortlist, folder, kind, per_file)
    texts = engine.encode_texts([text])
    length = (128 if shortlist is None else shortlist) if reranks else 0
    every = expected(searcher, texts.features, texts, folder, kind, 0)
    theirs = expected(searcher, texts.features, texts, folder, kind, length)
    assert found.searched == len(every)
    assert found.reranked == (len(theirs) if length else 0)
    assert set(found.seconds) == {"encode", "first_stage", "rerank"}
    if per_file:
        files = [one[0] for one in theirs]
        theirs = [one for place, one in enumerate(theirs) if one[0] not in files[:place]]
    theirs = theirs[:topk]
    scores = [(hit.score, hit.similarity) for hit in found.hits]
    assert scores == [pytest.approx(one[2:], abs=1e-5) for one in theirs]
    assert [hit.file_id for hit in found.hits] == [one[0] for one in theirs]
    snapshot = searcher.index.snapshot()
    for hit in found.hits:
        assert hit.shot_id in snapshot.shot_ids
        assert sum(hit.frame_weights) == pytest.approx(1, abs=1e-5)
        assert len(hit.frame_times) == len(hit.frame_weights) == engine.frames
        best = int(np.argmax(hit.frame_weights))
        assert hit.start <= hit.best_moment == hit.frame_times[best] <= hit.end
        if hit.kind == "image":
            assert (hit.start, hit.end, hit.best_moment) == (0, 0, 0)


def test_by_pictures_and_videos(root):
    engine = StubEngine()
    searcher = searcher_of(root, engine)
    found = searcher.search(image=root / "a/b/3.png", topk=3)
    assert (found.hits[0].path, found.reranked) == ("a/b/3.png", 0)
    assert found.hits[0].score == found.hits[0].similarity == pytest.approx(1, abs=1e-5)
    found = searcher.search(video=root / "clip", topk=1, kind="video")
    features = engine.encode_media(engine.read([root / "clip"], "video")).features
    [best, *_] = expected(searcher, features, None, None, "video", 0)
    assert found.hits[0].score == pytest.approx(best[2], abs=1e-5)
    # Two pictures, and a clip of 5.5 seconds.
    assert searcher.search(text="a bird", folder=str(root / "a/b")).searched == 2 + 3


def test_what_is_refused(root):
    searcher = searcher_of(root, StubEngine())
    for arguments, message in [
        ({}, "one text, one picture or one video, got none"),
        ({"text": "a", "image": "b.png"}, "got text and image"),
        ({"text": "  "}, "blank"),
        ({"text": 3}, "A text is expected, got int"),
        ({"text": "a", "topk": 0}, "topk=0"),
        ({"text": "a", "shortlist": -1}, "shortlist=-1"),
        ({"text": "a", "kind": "film"}, "kind='film'"),
        ({"text": "a", "folder": "a/../.."}, r"without '\.\.'"),
        ({"text": "a", "folder": "/elsewhere"}, "is not within"),
    ]:
        with pytest.raises(ValueError, match=message):
            searcher.search(**arguments)
    with pytest.raises(MediaError, match=r"missing\.png"):
        searcher.search(image="missing.png")
    with pytest.raises(ValueError, match=r"the backbone's weights.*--rebuild"):
        Searcher(searcher.index, StubEngine(name="other"))


def test_an_empty_index_and_later_updates(tmp_path: Path):
    engine = StubEngine()
    index = SearchIndex.create(tmp_path / ".uniadapter", engine)
    searcher = Searcher(index, engine)
    assert searcher.search("a bird").hits == ()
    write_picture(tmp_path / "one.png", 1)
    update_index(index, engine)
    assert [hit.path for hit in searcher.search("a bird").hits] == ["one.png"]
    other = StubEngine(reranks=False)
    update_index(SearchIndex.create(tmp_path / ".uniadapter", other), other)
    with pytest.raises(ValueError, match="how the model runs"):
        searcher.search("a bird")
    again = Searcher(SearchIndex.open(tmp_path), other)
    [hit] = again.search("a bird").hits
    assert hit.score == hit.similarity
    assert torch.tensor(hit.frame_weights).sum() == pytest.approx(1)
