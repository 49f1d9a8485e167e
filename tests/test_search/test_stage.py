"""The first stage of a large index is kept beside it, and follows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.search_helpers import StubEngine, write_picture
from uniadapter.search import first_stage
from uniadapter.search.index import SearchIndex
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import UpdateOptions, update_index


def test_a_large_index_keeps_its_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("faiss")
    engine, pictures = StubEngine(), tmp_path / "pictures"
    for number in range(12):
        write_picture(pictures / f"{number}.png", number)
    index = SearchIndex.create(tmp_path / "index", engine, root=pictures)
    update_index(index, engine)
    assert not list(index.folder.glob("first_stage*"))
    exact = Searcher(index, engine).search("a bird", topk=12, shortlist=0).hits

    monkeypatch.setattr(first_stage, "EXACT_ROWS", 3)
    built = []
    build = first_stage.FirstStage.build.__func__

    def counted(cls, features, *args, **options):
        built.append(len(features))
        return build(cls, features, *args, **options)

    monkeypatch.setattr(first_stage.FirstStage, "build", classmethod(counted))
    update_index(index, engine)
    [kept] = index.folder.glob("first_stage.*.bin")
    searcher = Searcher(index, engine)
    assert built == [12]
    assert searcher.search("a bird", topk=12, shortlist=0).hits == exact

    for number in (20, 21):
        write_picture(pictures / f"{number}.png", number)
    (pictures / "3.png").unlink()
    update_index(index, engine)
    # What there was is gone on with.
    assert built == [12]
    found = searcher.search("a bird", topk=99, shortlist=0)
    assert {hit.path for hit in found.hits} == {file.path for file in index.files()}
    assert len(found.hits) == 13

    update_index(index, engine, UpdateOptions(compact=True))
    [anew] = index.folder.glob("first_stage.*.bin")
    assert (built, anew != kept) == ([12, 13], True)
    again = searcher.search("a bird", topk=99, shortlist=0)
    assert [hit.path for hit in again.hits] == [hit.path for hit in found.hits]
    # A file that is damaged is made anew.
    anew.write_bytes(b"nothing")
    assert Searcher(index, engine).search("a bird", topk=99, shortlist=0).hits == again.hits
