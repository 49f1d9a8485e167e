"""Encoded corpora that are damaged: an index of what is there, or one error that names it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged
from tests.helpers import draws
from tests.malformed import outcome, spoiled
from tests.search_helpers import StubEngine, content_of, write_picture
from tests.test_search.test_corpus import encode
from uniadapter.search.corpus_table import FACTS_KEY, read_facts
from uniadapter.search.from_parquet import index_from_parquet

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder of media, and its shard."""
    root = tmp_path_factory.mktemp("corpora")
    for number in range(3):
        write_picture(root / "media" / f"{number}.png", number)
    (root / "media" / "broken.png").write_bytes(b"no picture")
    encode(root / "out", [root / "media"], 9)
    return root / "media", (root / "out" / "part-00000.parquet").read_bytes()


def read(place: Path, media: Path) -> Any:
    """What an index of the corpus knows; the index is as it was where there is an error."""
    return content_of(index_from_parquet(place / "out", place / "index", StubEngine(), media))


def placed(content: bytes, folder: Path) -> Path:
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "part-00000.parquet").write_bytes(content)
    return folder


@settings(max_examples=draws(15, deep=300))
@given(data=st.data())
def test_bytes(data: st.DataObject, corpus: Any, tmp_path_factory: pytest.TempPathFactory):
    media, right = corpus
    folder = tmp_path_factory.getbasetemp() / f"shards{next(_numbers)}"
    placed(data.draw(damaged(right)), folder)
    outcome(lambda: read(folder, media), folder)


def written(table: Any, folder: Path) -> bytes:
    parquet.write_table(table, folder / "table.parquet")
    return (folder / "table.parquet").read_bytes()


@settings(max_examples=draws(15, deep=300))
@given(data=st.data())
def test_tables(data: st.DataObject, corpus: Any, tmp_path_factory: pytest.TempPathFactory):
    media, right = corpus
    folder = tmp_path_factory.getbasetemp() / f"tables{next(_numbers)}"
    table = parquet.read_table(arrow.BufferReader(right))
    name = data.draw(st.sampled_from(table.column_names))
    at, way = table.column_names.index(name), data.draw(st.sampled_from(range(6)))
    rows = table.num_rows
    if way == 0:
        table = table.drop_columns([name])
    elif way == 1:
        table = table.append_column("more", arrow.array([1] * rows))
    elif way == 2:
        facts = parquet.read_schema(arrow.BufferReader(right)).metadata[FACTS_KEY]
        content = spoiled(read_facts_of(facts))
        table = table.replace_schema_metadata({FACTS_KEY: data.draw(content)})
    else:
        values = data.draw(st.sampled_from([None, 7, -1, 0.5, "a", "../a.png", b"a", [1.0], [[]]]))
        column = arrow.array([values] * rows)
        if way == 3:
            column = arrow.nulls(rows, table.schema.field(name).type)
        table = table.set_column(at, name, column)
    placed(written(table, tmp_path_factory.mktemp("table")), folder)
    outcome(lambda: read(folder, media), folder)


def read_facts_of(content: bytes) -> Any:
    return json.loads(content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("binding", []), ("layout", 3), ("reading", {"shot": 3}), ("source", "a")),
        *(("reading", {"shot_seconds": "a"}), ("reading", {"shot_seconds": 0}), ("shards", "a")),
        ("items", None),
    ],
)
def test_facts_of_another_kind(key: str, value: Any, corpus: Any, tmp_path: Path):
    table = parquet.read_table(arrow.BufferReader(corpus[1]))
    facts = {**json.loads(table.schema.metadata[FACTS_KEY]), key: value}
    table = table.replace_schema_metadata({FACTS_KEY: json.dumps(facts)})
    path = placed(written(table, tmp_path), tmp_path / "one") / "out" / "part-00000.parquet"
    with pytest.raises(ValueError, match=r"part-00000\.parquet is no shard .* or damaged"):
        read_facts(path)


def test_a_row_without_its_numbers_is_named(corpus: Any, tmp_path: Path):
    media, right = corpus
    table = parquet.read_table(arrow.BufferReader(right))
    at = table.column_names.index("feature")
    kind = table.schema.field("feature").type
    table = table.set_column(at, "feature", arrow.nulls(table.num_rows, kind))
    placed(written(table, tmp_path), tmp_path / "one")
    with pytest.raises(ValueError, match=r"part-00000\.parquet is no shard .* or damaged"):
        read(tmp_path / "one", media)
