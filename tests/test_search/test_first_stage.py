"""The first stage finds what a plain sort finds, or most of it, and its files are checked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.search import ann
from uniadapter.search.first_stage import EXACT_ROWS, FirstStage, choose_kind


def rows_of(count: int, size: int, seed: int) -> np.ndarray:
    """Normalised rows, drawn about a few centres, some of them twice."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((5, size))
    rows = centres[rng.integers(5, size=count)] + rng.standard_normal((count, size)) * 0.3
    if count > 3:
        again = rng.integers(count, size=(2, count // 3))
        rows[again[0]] = rows[again[1]]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain(features: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray) -> list:
    """Pairs of (row, similarity) of each query, by sorting."""
    found = []
    for query in queries.astype(np.float64):
        pairs = [
            (-np.float32((row.astype(np.float64) * query).sum()), number)
            for number, row in enumerate(features)
            if allowed[number]
        ]
        found.append([(number, -product) for product, number in sorted(pairs)[:k]])
    return found


@given(data=st.data())
@settings(max_examples=draws(40), deadline=None)
def test_exact_search_is_a_sort(data: st.DataObject) -> None:
    size, count = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 60))
    k, seed = data.draw(st.integers(1, 70)), data.draw(st.integers(0, 2**31))
    features, queries = rows_of(count, size, seed), rows_of(3, size, seed + 1)
    share = data.draw(st.sampled_from([None, 0.0, 0.1, 0.8, 1.0]))
    allowed = None
    if share is not None:
        allowed = np.random.default_rng(seed).random(count) < share
    cut = data.draw(st.integers(0, count))
    whole, pieces = FirstStage.build(features), FirstStage.build(features[:cut])
    pieces.add(features[cut:])
    everywhere = np.ones(count, bool) if allowed is None else allowed
    expected = plain(features, queries, k, everywhere)
    for stage in (whole, pieces):
        similarities, rows = stage.search(queries, k, allowed)
        assert similarities.shape == rows.shape == (3, k)
        for own, products, wanted in zip(rows, similarities, expected, strict=True):
            assert own[: len(wanted)].tolist() == [number for number, _ in wanted]
            assert products[: len(wanted)].tolist() == [product for _, product in wanted]
            assert (own[len(wanted) :] == -1).all()
            assert (products[len(wanted) :] == -np.inf).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, queries = rows_of(300, 16, 1), rows_of(7, 16, 2)
    expected = FirstStage.build(features).search(queries, 9)
    monkeypatch.setattr("uniadapter.search.vectors._BLOCK", 7)
    monkeypatch.setattr("uniadapter.search.vectors._AT_ONCE", 600)
    found = FirstStage.build(features).search(queries, 9)
    assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))


def test_auto_goes_by_size() -> None:
    assert choose_kind(EXACT_ROWS, 256) == "exact"
    assert choose_kind(EXACT_ROWS + 1, 256) == "hnsw"
    assert choose_kind(10**8, 256) == "ivf_pq"
    assert FirstStage.build(rows_of(20, 8, 0)).kind == "exact"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.eye(3, dtype=np.float32) * 2, "row 0 is not of norm 1"),
        (np.diag([1, 1, np.nan]).astype(np.float32), "row 2 holds a number that is not finite"),
        (np.diag([1, np.inf, 1]).astype(np.float32), "row 1 holds a number that is not finite"),
        (np.ones(3, np.float32), r"shape \(3,\)"),
        (np.eye(3, dtype=np.int64), "type int64"),
    ],
)
def test_rows_that_are_no_features_are_refused(features: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FirstStage.build(features)
    stage = FirstStage.build(np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        stage.add(features)
    with pytest.raises(ValueError, match=message):
        stage.search(features, 1)


def test_what_does_not_fit_is_refused() -> None:
    features = rows_of(20, 8, 0)
    stage = FirstStage.build(features)
    with pytest.raises(ValueError, match="another model"):
        stage.search(rows_of(1, 9, 0), 1)
    with pytest.raises(ValueError, match="k=0"):
        stage.search(features[:1], 0)
    for allowed in (np.ones(19, bool), np.ones(20, np.uint8)):
        with pytest.raises(ValueError, match="boolean for each of the 20 rows"):
            stage.search(features[:1], 1, allowed)
    with pytest.raises(ValueError, match="kind='flat' is unknown"):
        FirstStage.build(features, "flat")
    with pytest.raises(ValueError, match="'auto' chose for 20 rows"):
        FirstStage.build(features, ef_search=3)
    with pytest.raises(ValueError, match="no option of kind='hnsw'.*Did you mean 'ef_search'"):
        FirstStage.build(features, "hnsw", efsearch=3)
    with pytest.raises(ValueError, match="m=True of kind='hnsw'"):
        FirstStage.build(features, "hnsw", m=True)


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    features = rows_of(300, 8, 0)
    assert FirstStage.build(features).search(features[:2], 1)[0].round(5).tolist() == [[1], [1]]
    for kind in ("hnsw", "ivf_pq"):
        with pytest.raises(ImportError, match=r"uniadapter\[search\]"):
            FirstStage.build(features, kind)


def test_a_library_that_faiss_dies_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(ann, "_loaded_libraries", lambda: "7f00 /lib/libnvblas.so.13")
    with pytest.raises(ImportError, match="import faiss' before"):
        FirstStage.build(rows_of(300, 8, 0), "ivf_pq")


OPTIONS = {"hnsw": {"m": 8}, "ivf_pq": {"pq_bytes": 4, "nlist": 8, "nprobe": 4}}


@pytest.mark.parametrize("kind", ["hnsw", "ivf_pq"])
def test_approximate_search(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    features, queries = rows_of(1500, 16, 3), rows_of(20, 16, 4)
    stage = FirstStage.build(features[:1200], kind, **OPTIONS[kind])
    stage.add(features[1200:])
    rng = np.random.default_rng(5)
    masks = [None, rng.random(1500) < 0.6, rng.random(1500) < 0.01, np.zeros(1500, bool)]
    for allowed in masks:
        exact = FirstStage.build(features).search(queries, 10, allowed)
        found = stage.search(queries, 10, allowed)
        # A product says which rows are right where equal rows may change places.
        recall = np.mean([np.isin(a, b).mean() for a, b in zip(exact[0], found[0], strict=True)])
        assert recall > 0.9
        here = found[1] >= 0
        assert (here == (exact[1] >= 0)).all()
        assert allowed is None or allowed[found[1][here]].all()
        assert all(len(set(own[own >= 0])) == (own >= 0).sum() for own in found[1])
    stage.save(tmp_path / "first")
    again = FirstStage.load(tmp_path / "first", features)
    for one, other in zip(stage.search(queries, 10), again.search(queries, 10), strict=True):
        assert np.array_equal(one, other)
    alone = FirstStage.load(tmp_path / "first")
    # Without the features the bytes of IVF-PQ can't be refined, yet as many are found.
    few = alone.search(queries, 10, masks[2])[1]
    assert ((few >= 0).sum(axis=1) == min(10, int(masks[2].sum()))).all()


@pytest.mark.parametrize("kind", ["hnsw", "ivf_pq"])
def test_building_is_repeatable(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    for name in ("one", "two"):
        FirstStage.build(rows_of(600, 16, 3), kind, **OPTIONS[kind]).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_options_are_changed_by_name() -> None:
    pytest.importorskip("faiss")
    stage = FirstStage.build(rows_of(300, 8, 0), "hnsw", m=4)
    stage.tune(ef_search=7)
    assert stage.options.ef_search == 7
    with pytest.raises(ValueError, match=r"m can only be given to build\(\)"):
        stage.tune(m=5)
    with pytest.raises(ValueError, match="nprobe is no option of kind='hnsw'"):
        stage.tune(nprobe=5)


def test_growth_is_told() -> None:
    pytest.importorskip("faiss")
    stage = FirstStage.build(rows_of(300, 8, 0), "ivf_pq", nlist=4)
    stage.add(rows_of(900, 8, 1))
    assert not stage.stale
    stage.add(rows_of(1, 8, 2))
    assert stage.stale


def test_auto_is_stale_beyond_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uniadapter.search.first_stage.EXACT_ROWS", 20)
    stage = FirstStage.build(rows_of(20, 8, 0))
    assert not stage.stale
    stage.add(rows_of(1, 8, 1))
    assert stage.stale


def test_ivf_pq_of_too_few_rows() -> None:
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match="at least 256 rows, and there are 255"):
        FirstStage.build(rows_of(255, 8, 0), "ivf_pq")
    with pytest.raises(ValueError, match="must divide a row's 8 numbers"):
        FirstStage.build(rows_of(256, 8, 0), "ivf_pq", pq_bytes=3)


@given(data=st.data())
@settings(max_examples=draws(15), deadline=None)
def test_damaged_files_are_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    faiss = pytest.importorskip("faiss")
    del faiss
    kind = data.draw(st.sampled_from(["exact", "hnsw", "ivf_pq"]))
    path = tmp_path_factory.mktemp("stage") / "first"
    FirstStage.build(rows_of(256, 4, 0), kind).save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no first stage|damaged"):
        FirstStage.load(path)


def test_files_of_other_features_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        FirstStage.load(tmp_path / "first")
    features = rows_of(30, 8, 0)
    FirstStage.build(features).save(tmp_path / "first")
    assert len(FirstStage.load(tmp_path / "first")) == 30
    more = FirstStage.load(tmp_path / "first", np.concatenate([features, rows_of(3, 8, 1)]))
    assert len(more) == 33
    for other in (features[:29], rows_of(30, 8, 1)):
        with pytest.raises(ValueError, match="of other features"):
            FirstStage.load(tmp_path / "first", other)
