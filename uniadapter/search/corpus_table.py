"""The Parquet shards of an encoded corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from uniadapter.utils.extras import import_extra
from uniadapter.utils.json_files import brief, parse_json
from uniadapter.utils.safe_io import atomic_file

from .hits import Kind
from .reading import ReadOptions
from .store import Layout

SUFFIX = ".parquet"
#: Key of the facts among those of a shard's schema.
FACTS_KEY = b"uniadapter.corpus"
#: Rows of a row group at most, and bytes of numbers from which on it is full.
GROUP_ROWS = 64
GROUP_BYTES = 2**26
#: Kinds of the facts that every shard has, and of what is known of a medium.
_FACTS: dict[str, type] = dict.fromkeys(("binding", "layout", "reading", "source"), dict)
_FACTS |= {"shards": int, "items": str}
_HEAD: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("key", "kind"), (str,)),
    **dict.fromkeys(("size", "mtime_ns"), (int,)),
    "digest": (bytes, type(None)),
    "error": (str, type(None)),
    **dict.fromkeys(("start", "end"), (float,)),
}


@dataclass
class Row:
    """A shot of a medium, or why a medium can't be read.

    Attributes:
        key: Of the medium.
        kind: Of the medium.
        size: Of its file, in bytes.
        mtime_ns: When its file was changed; 0: unknown.
        digest: Of its content; None: unknown.
        error: Why it can't be read: then there is no other row of it, and no numbers.
        start: Where the shot begins, in seconds.
        end: Where it ends.
        numbers: Of the shot, a row of each file of :class:`~uniadapter.search.store.Layout`.
    """

    key: str
    kind: Kind
    size: int
    mtime_ns: int
    digest: bytes | None
    error: str | None = None
    start: float = 0.0
    end: float = 0.0
    numbers: Mapping[str, np.ndarray] | None = None


def load_parquet() -> tuple[Any, Any]:
    """Pyarrow and its Parquet module.

    Raises:
        ImportError: If pyarrow is not installed.
    """
    what = "an encoded corpus"
    return import_extra("pyarrow", "corpus", what), import_extra("pyarrow.parquet", "corpus", what)


def schema_of(layout: Layout, facts: Mapping[str, Any]) -> Any:
    """The columns of a shard.

    ``tokens`` are (N, M, D) float16, little-endian. ``frame_cls`` is there with them.
    """
    arrow, _ = load_parquet()
    real = arrow.float32()
    fields = [
        ("key", arrow.string()),
        ("kind", arrow.string()),
        ("size", arrow.int64()),
        ("mtime_ns", arrow.int64()),
        ("digest", arrow.binary()),
        ("error", arrow.string()),
        ("start", arrow.float64()),
        ("end", arrow.float64()),
        ("feature", arrow.list_(real, layout.feature_size)),
        ("frame_times", arrow.list_(real)),
        ("frame_features", arrow.list_(arrow.list_(real, layout.feature_size))),
    ]
    if layout.token_shape is not None:
        fields.append(("frame_cls", arrow.list_(arrow.list_(real, layout.cls_size))))
        fields.append(("tokens", arrow.large_binary()))
    return arrow.schema(fields, {FACTS_KEY: json.dumps(facts, sort_keys=True).encode()})


class ShardWriter:
    """Writes rows to a shard, a row group as soon as there are enough of them.

    Args:
        file: Open to be written to.
        layout: Of the numbers.
        facts: Of the corpus.
    """

    def __init__(self, file: Any, layout: Layout, facts: Mapping[str, Any]) -> None:
        _, parquet = load_parquet()
        self.layout, self._schema, self._rows = layout, schema_of(layout, facts), list[Row]()
        self._bytes = 0
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, rows: Sequence[Row]) -> None:
        """Add the rows of a medium."""
        for row in rows:
            self._rows.append(row)
            self._bytes += sum(one.nbytes for one in (row.numbers or {}).values())
            if len(self._rows) == GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        arrow, _ = load_parquet()
        columns = {
            name: [self._value(row, name) for row in self._rows] for name in self._schema.names
        }
        arrays = [arrow.array(columns[f.name], f.type) for f in self._schema]
        self._writer.write_table(arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._bytes = [], 0

    def _value(self, row: Row, column: str) -> Any:
        if column == "error" and row.error is not None:
            # It may quote bytes that are no UTF-8.
            return row.error.encode("utf-8", "backslashreplace").decode()
        if hasattr(row, column):
            return getattr(row, column)
        if row.numbers is None:
            return None
        if column == "feature":
            return row.numbers["features"]
        if column == "tokens":
            return np.ascontiguousarray(row.numbers["tokens"], "<f2").tobytes()
        frames = row.numbers["frames"]
        frames = frames[~np.isnan(frames[:, 0])]
        cut = 1 + self.layout.feature_size
        if column == "frame_times":
            return frames[:, 0]
        return list(frames[:, 1:cut] if column == "frame_features" else frames[:, cut:])

    def close(self) -> None:
        """Write what is left, and the end of the shard."""
        if self._rows:
            self._flush()
        self._writer.close()


@contextmanager
def writing_shard(
    path: str | Path, layout: Layout, facts: Mapping[str, Any]
) -> Iterator[ShardWriter]:
    """Write a shard, whole or not at all."""
    with atomic_file(path) as file:
        writer = ShardWriter(file, layout, facts)
        try:
            yield writer
        finally:
            # The library would write to the file when the object goes.
            writer.close()


def _open(path: Path) -> Any:
    _, parquet = load_parquet()
    try:
        return parquet.ParquetFile(path)
    # Damaged shards fail in many unrelated ways.
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: object) -> ValueError:
    text = str(error).strip() or type(error).__name__
    return ValueError(
        f"{path} is no shard of an encoded corpus, or damaged ({text.splitlines()[0]:.200}): "
        "remove it, and call `uniadapter encode` again."
    )


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a shard.

    Raises:
        ValueError: If it is no such shard, or damaged.
    """
    with _open(path) as file:
        content = (file.schema_arrow.metadata or {}).get(FACTS_KEY)
    if content is None:
        raise _damaged(path, "it does not say what it was encoded with")
    try:
        facts = dict(parse_json(content))
    except (TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    absent = set(_FACTS) - set(facts)
    if absent:
        raise _damaged(path, f"its facts lack {', '.join(sorted(absent))}")
    for name, kind in _FACTS.items():
        if not isinstance(facts[name], kind):
            raise _damaged(path, f"its {name} is {brief(facts[name])}")
    try:
        ReadOptions(**facts["reading"])
    except (TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return facts


def what_counts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of the facts of a corpus those that its rows depend on, and not where things lay."""
    return {key: value for key, value in facts.items() if key not in ("source", "sources")}


def read_heads(path: Path) -> list[Row]:
    """The media of a shard, without shots and numbers.

    Raises:
        ValueError: If it is damaged.
    """
    names = ["key", "kind", "size", "mtime_ns", "digest", "error"]
    with _open(path) as file:
        try:
            table = file.read(columns=names)
            columns = [table[name].to_pylist() for name in names]
        except Exception as error:
            raise _damaged(path, error) from error
        try:
            rows = [_checked(Row(*values)) for values in zip(*columns, strict=True)]
        except ValueError as error:
            raise _damaged(path, error) from error
    # The shots of a medium stand together.
    return [row for row, before in zip(rows, [None, *rows], strict=False) if row != before]


def _checked(row: Row) -> Row:
    """A row, what stands in which is of the kind that the index counts on.

    Raises:
        ValueError: If it is not.
    """
    for name, kinds in _HEAD.items():
        value = getattr(row, name)
        if not isinstance(value, kinds) or (name == "kind" and value not in get_args(Kind)):
            raise ValueError(f"a row has the {name} {brief(value)}")
    return row


def read_errors(path: Path) -> tuple[set[str], list[str]]:
    """The keys of a shard, and what is wrong with those that could not be read.

    Raises:
        ValueError: If it is damaged.
    """
    known = read_heads(path)
    return {row.key for row in known}, [f"{row.key}: {row.error}" for row in known if row.error]


def read_rows(path: Path, layout: Layout) -> Iterator[list[Row]]:
    """Read a shard.

    Args:
        path: The shard.
        layout: Of its numbers.

    Yields:
        The rows of each row group.

    Raises:
        ValueError: If it is damaged.
    """
    with _open(path) as file:
        for group in range(file.num_row_groups):
            try:
                yield [_row_of(values, layout) for values in _values(file.read_row_group(group))]
            except Exception as error:
                raise _damaged(path, error) from error


def _values(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of a table, lists as arrays."""
    lists = ("feature", "frame_times", "frame_features", "frame_cls")
    names = table.column_names
    plain = {n: table[n].to_pylist() for n in names if n not in lists}
    for row in range(table.num_rows):
        found = {name: values[row] for name, values in plain.items()}
        for name in (n for n in lists if n in names):
            values = table[name][row].values
            if values is not None and name.startswith("frame_") and name != "frame_times":
                values = values.flatten()
            found[name] = None if values is None else values.to_numpy(zero_copy_only=False)
        yield found


def _row_of(values: Mapping[str, Any], layout: Layout) -> Row:
    names = ("key", "kind", "size", "mtime_ns", "digest", "error", "start", "end")
    row = _checked(Row(**{name: values[name] for name in names}))
    if row.error is not None:
        return row
    times, size = values["frame_times"], layout.feature_size
    frames = np.full((layout.frames, 1 + size + layout.cls_size), np.nan, np.float32)
    frames[: len(times), 0] = times
    frames[: len(times), 1 : 1 + size] = values["frame_features"].reshape(len(times), size)
    numbers = {
        "features": np.asarray(values["feature"], np.float32).reshape(size),
        "frames": frames,
    }
    if layout.token_shape is not None:
        frames[: len(times), 1 + size :] = values["frame_cls"].reshape(len(times), -1)
        shape = (layout.frames, *layout.token_shape)
        numbers["tokens"] = np.frombuffer(values["tokens"], "<f2").reshape(shape)
    row.numbers = numbers
    return row
