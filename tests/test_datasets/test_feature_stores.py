"""Readers of features: what they give, alike for all kinds, and what they refuse."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.datasets.feature_stores import STORES, FeatureStore, open_features
from uniadapter.datasets.feature_stores.writing import parquet_bytes

Arrays = dict[str, np.ndarray]


def write_npz(root: Path, arrays: Arrays) -> None:
    for name, array in arrays.items():
        np.savez(root / f"{name}.npz", features=array)


def write_hdf5(root: Path, arrays: Arrays) -> None:
    h5py = pytest.importorskip("h5py")
    for name, array in arrays.items():
        with h5py.File(root / f"{name}.h5", "w") as file:
            file.create_dataset(f"{name}/features", data=array)


def write_parquet(root: Path, arrays: Arrays, shard: str = "part-00000", rows: int = 2) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    ids = arrow.array(list(arrays), arrow.string())
    native = [array.astype(array.dtype.newbyteorder("=")) for array in arrays.values()]
    types = {array.dtype.type for array in native}
    number = arrow.float32() if len(types) > 1 else arrow.from_numpy_dtype(next(iter(types), "f4"))
    shapes = {array.shape for array in native}
    # Of fixed sizes where all are of one shape, as the re-published shards.
    sizes = next(iter(shapes)) if len(shapes) == 1 else (-1, -1)
    for size in reversed(sizes):
        number = arrow.list_(number, size or -1)
    table = arrow.table({"id": ids, "features": arrow.array([a.tolist() for a in native], number)})
    parquet.write_table(table, root / f"{shard}.parquet", row_group_size=rows)


WRITERS: dict[str, Callable[[Path, Arrays], None]] = {
    "npz": write_npz,
    "hdf5": write_hdf5,
    "parquet": write_parquet,
}
KINDS = sorted(WRITERS)


def stored(kind: str, root: Path, arrays: Arrays, shape: Any = (None, None)) -> FeatureStore:
    root.mkdir(exist_ok=True)
    WRITERS[kind](root, arrays)
    return open_features({"type": kind, "root": root.name, "shape": shape}, str(root.parent))


def test_every_kind_is_tested() -> None:
    assert sorted(STORES) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_was_written(kind: str, tmp_path: Path) -> None:
    drawn = np.random.default_rng(3)
    arrays = {
        f"n{number}.{number}": drawn.normal(size=(rows, 6)).astype(dtype)
        for number, (rows, dtype) in enumerate(
            [(1, np.float16), (7, np.float32), (4, np.float64), (3, ">f2")]
        )
    }
    store = stored(kind, tmp_path / "f", arrays, (None, 6))
    for name, array in reversed(arrays.items()):
        found = store.read(name)
        assert found.dtype == np.float32
        assert np.array_equal(found, array.astype(np.float32))
    assert store.missing(["x", *arrays, "y"]) == ["x", "y"]
    store.require(arrays, "train.json")


@settings(max_examples=draws(4), deadline=None)
@given(seed=st.integers(0, 2**16), half=st.booleans())
def test_kinds_give_the_same(seed: int, half: bool, tmp_path_factory: Any) -> None:
    drawn = np.random.default_rng(seed)
    dtype = np.float16 if half else np.float32
    cells, dim = (int(n) for n in drawn.integers(1, 9, 2))
    arrays = {f"v_{n}": drawn.normal(size=(cells, dim)).astype(dtype) for n in range(3)}
    root = tmp_path_factory.mktemp("kinds")
    stores = [stored(kind, root / kind, arrays, (cells, dim)) for kind in KINDS]
    for name, array in arrays.items():
        for store in stores:
            assert np.array_equal(store.read(name), array.astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((48, 8), np.float16), r"'features' of 'a' has shape \(48, 8\).*\(49, 8\)"),
        (np.zeros((49, 9), np.float16), r"has shape \(49, 9\), expected \(49, 8\)"),
        (np.zeros((1, 49, 8), np.float16), r"has shape \(1, 49"),
        (np.zeros((49, 8), np.int64), "type int64"),
        (np.full((49, 8), np.inf, np.float16), "not finite"),
        (np.full((49, 8), np.nan, np.float32), "not finite"),
    ],
)
def test_what_does_not_fit(kind: str, array: np.ndarray, words: str, tmp_path: Path) -> None:
    store = stored(kind, tmp_path / "f", {"a": array}, (49, 8))
    with pytest.raises(ValueError, match=words) as caught:
        store.read("a")
    assert str(tmp_path / "f") in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_is_no_feature(kind: str, tmp_path: Path) -> None:
    store = stored(kind, tmp_path / "f", {"a": np.zeros((0, 8), np.float16)}, (None, 8))
    with pytest.raises(ValueError, match=r"shape \(0,.*expected \('any', 8\)"):
        store.read("a")


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_are_missing(kind: str, tmp_path: Path) -> None:
    store = stored(kind, tmp_path / "f", {"a": np.ones((2, 3), np.float16)})
    words = r"no features of 'b', which train.json names; 2 of its 3 pictures or videos have none"
    with pytest.raises(FileNotFoundError, match=words):
        store.require(["a", "b", "c", "b"], "train.json")
    with pytest.raises(FileNotFoundError, match="extract_clip_grids.py"):
        store.read("b")


@pytest.mark.parametrize(("kind", "suffix"), [("npz", ".npz"), ("hdf5", ".h5")])
def test_damaged_files(kind: str, suffix: str, tmp_path: Path) -> None:
    store = stored(kind, tmp_path / "f", {"a": np.ones((20, 30), np.float16)})
    path = tmp_path / "f" / f"a{suffix}"
    whole = path.read_bytes()
    for content in (b"", b"<html>", whole[: len(whole) // 2], whole[:40]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or of another kind") as caught:
            store.read("a")
        assert str(path) in str(caught.value)


def test_files_without_features(tmp_path: Path) -> None:
    store = stored("npz", tmp_path / "f", {})
    np.savez(tmp_path / "f" / "a.npz", other=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"no array 'features', but \['other'\]"):
        store.read("a")
    with (tmp_path / "f" / "b.npz").open("wb") as file:
        np.save(file, np.ones((2, 3)))
    with pytest.raises(ValueError, match="no array 'features'"):
        store.read("b")


def test_files_of_another_name(tmp_path: Path) -> None:
    store = stored("hdf5", tmp_path / "f", {"a": np.ones((2, 3), np.float16)})
    (tmp_path / "f" / "a.h5").rename(tmp_path / "f" / "b.h5")
    with pytest.raises(ValueError, match=r"no data set 'b/features', but \['a', 'a/features'\]"):
        store.read("b")


def test_shards(tmp_path: Path) -> None:
    drawn = np.random.default_rng(1)
    arrays = {f"Bild {n}é": drawn.normal(size=(3, 4)).astype(np.float16) for n in range(9)}
    names = list(arrays)
    root = tmp_path / "f"
    root.mkdir()
    for shard, rows in enumerate((2, 3)):
        part = {name: arrays[name] for name in names[shard::2]}
        write_parquet(root, part, f"part-{shard:05d}", rows)
    config = {"type": "parquet", "root": str(root), "shape": (3, 4)}
    store = open_features(config)
    assert store.names() == sorted(names)
    for name in drawn.permutation(names):
        assert np.array_equal(store.read(name), arrays[name].astype(np.float32))
    assert store.place(names[1]).endswith("part-00001.parquet")
    assert store.missing([names[0], "Bild", "", "Bild 9é"]) == ["Bild", "", "Bild 9é"]
    write_parquet(root, {"x": np.ones((3, 4)), names[4]: np.ones((3, 4))}, "more")
    with pytest.raises(ValueError, match="id 'Bild 4é' stands in more.parquet and again in part-0"):
        open_features(config)
    (root / "more.parquet").unlink()
    path = root / "part-00001.parquet"
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="part-00001.parquet is gone"):
        store.read(names[1])
    for content in (b"", b"PAR1" * 9, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"part-00001.parquet: damaged or of another kind"):
            open_features(config)
        with pytest.raises(ValueError, match=r"part-00001.parquet: damaged or of another kind"):
            store.read(names[1])


def test_shards_of_another_form(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    config = {"type": "parquet", "root": str(tmp_path), "shape": (None, 2)}
    with pytest.raises(FileNotFoundError, match=r"has no shard \*.parquet"):
        open_features(config)
    uneven = [[[1.0, 2.0], [3.0]]]
    for table, words in (
        ({"name": ["a"], "features": uneven}, "column 'id' is missing, there are"),
        ({"id": ["a"], "data": uneven}, "column 'features' is missing"),
        ({"id": [None, "a"], "features": [None, None]}, "'id' must be a text, got None"),
    ):
        parquet.write_table(arrow.table(table), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=f"a.parquet: damaged or of another kind .*{words}"):
            open_features(config)
    for column, words in ((uneven, r"its lists are of lengths \[1, 2\]"), ([1.0], "damaged")):
        table = arrow.table({"id": ["a"], "features": column})
        parquet.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=words):
            open_features(config).read("a")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(6, np.float16)}, r"of 'a' have shape \(6,\), expected \(N, D\)"),
        ({"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}, "of 'b' are 4 numbers wide, .*'a' 3"),
    ],
)
def test_a_shard_is_of_matrices_of_one_width(arrays: Arrays, words: str) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match=words):
        parquet_bytes(arrays)


def test_no_code_is_run(tmp_path: Path) -> None:
    store = stored("npz", tmp_path / "f", {})
    touched = tmp_path / "touched"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (touched,)

    traps = np.empty((1, 1), dtype=object)
    traps[0, 0] = Trap()
    np.savez(tmp_path / "f" / "a.npz", features=traps)
    (tmp_path / "f" / "b.npz").write_bytes(pickle.dumps(Trap()))
    for name in "ab":
        with pytest.raises(ValueError, match="damaged or of another kind"):
            store.read(name)
    assert not touched.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.deep)])
def test_processes_read_what_this_one_reads(kind: str, start: str, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    arrays = {f"n{n}": drawn.normal(size=(3, 4)).astype(np.float16) for n in range(6)}
    store = stored(kind, tmp_path / "f", arrays, (3, 4))
    store.read("n0")
    names = list(arrays) * 3
    with ProcessPoolExecutor(2, get_context(start)) as pool:
        found = list(pool.map(store.read, names))
    for name, array in zip(names, found, strict=True):
        assert np.array_equal(array, arrays[name].astype(np.float32))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"type": "npz", "root": "f"}, "takes the keys"),
        ({"type": "npz", "root": "f", "shape": (1, 2), "more": 1}, "takes the keys"),
        ({"type": "zarr", "root": "f", "shape": (1, 2)}, "features.type='zarr' is unknown"),
        ({"type": "npz", "root": "f", "shape": (1,)}, "features.shape"),
        ({"type": "npz", "root": "f", "shape": (0, 2)}, "features.shape"),
        ({"type": "npz", "root": "f", "shape": (1.0, 2)}, "features.shape"),
    ],
)
def test_options(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(ValueError, match=words):
        open_features(config, str(tmp_path))


def test_no_folder(tmp_path: Path) -> None:
    config = {"type": "npz", "root": "f", "shape": (1, 2)}
    with pytest.raises(FileNotFoundError, match="features.root"):
        open_features(config, str(tmp_path))
