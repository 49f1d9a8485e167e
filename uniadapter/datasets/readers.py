"""Reading annotation files, with errors that name file, row and key."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..utils.json_files import brief, parse_json

#: A number in a text with more digits is none of an item; Python reads 4300 at most.
MAX_DIGITS = 18
_LAYOUT = "docs/dataset_preparation.md shows the expected files."


def require_file(path: str, key: str) -> str:
    """Return ``path`` if it is a file.

    Args:
        path: Path to check.
        key: Configuration key it came from, for the error.

    Raises:
        ValueError: When the path is empty.
        FileNotFoundError: When there is no such file.
    """
    if not path:
        raise ValueError(f"{key} is empty: give the path of the annotation file. {_LAYOUT}")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{key} = {path!r} does not exist. {_LAYOUT}")
    return path


def read_json(path: str) -> Any:
    """Parse a JSON file, with or without a byte order mark.

    Raises:
        ValueError: When the file is not UTF-8 or not JSON.
    """
    try:
        return parse_json(Path(path).read_bytes())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error
    except ValueError as error:
        line = f": line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(
            f"{path}{line}: not valid JSON ({getattr(error, 'msg', error)}); the file may be "
            "truncated, copy or download it again."
        ) from error


def read_json_lines(path: str) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value) for every non-blank line of a JSON-lines file.

    Raises:
        ValueError: When a line is not JSON, or the file is not UTF-8.
    """
    with open(path, encoding="utf-8-sig") as file:
        number = 0
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, parse_json(line)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error
        except ValueError as error:
            raise ValueError(
                f"{path}: line {number}: not valid JSON ({getattr(error, 'msg', error)}); one "
                'object a line is expected, e.g. {"media": "a.mp4", "text": "a dog runs"}.'
            ) from error


def read_text_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file that are not blank, without the blanks at their ends.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is not UTF-8.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} does not exist, or is no file of texts.")
    try:
        with open(path, encoding="utf-8-sig") as file:
            return [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error


def read_csv(path: str, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header, tolerating a byte order mark, CRLF and blank lines.

    Args:
        path: File to read.
        columns: Columns that must be there.

    Returns:
        (line number from 1, row) for every row.

    Raises:
        ValueError: When a column is missing, or a row has fewer or more fields than the header.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in (reader.fieldnames or [])]
            reader.fieldnames = names
            missing = [column for column in columns if column not in names]
            if missing:
                raise ValueError(
                    f"{path}: column {missing[0]!r} is missing; the header has {brief(names)}. "
                    f"{_LAYOUT}"
                )
            rows = [(reader.line_num, row) for row in reader]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error
        except csv.Error as error:
            raise ValueError(f"{path}: not a CSV file ({error}). {_LAYOUT}") from error
    for line, row in rows:
        short = [name for name in names if row[name] is None]
        if short:
            raise ValueError(f"{path}: line {line}: no value for column {short[0]!r}.")
        # csv keeps what is beyond the header under the key None.
        if any(extra.strip() for extra in row.pop(None, ())):
            raise ValueError(
                f"{path}: line {line}: more fields than the header has; put a text with commas "
                "in double quotes."
            )
    return rows


def require_text(entry: Any, key: str, where: str) -> str:
    """Return ``entry[key]`` stripped, which must be a non-empty string.

    Args:
        entry: One annotation.
        key: Key to read.
        where: File and position, for the error.

    Raises:
        ValueError: When the entry is not a mapping, or the value is absent, no string or blank.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: an object is expected, got {type(entry).__name__}.")
    if key not in entry:
        raise ValueError(f"{where}: key {key!r} is missing; the keys are {brief(sorted(entry))}.")
    value = entry[key]
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key!r} must be a string, got {type(value).__name__}.")
    if not value.strip():
        raise ValueError(f"{where}: {key!r} is empty; write a text or remove the entry.")
    return value.strip()


def read_list(path: str, source: str) -> list[Any]:
    """Parse a JSON file whose top level is a list.

    Args:
        path: File to read.
        source: Whose files look like that, for the error.

    Raises:
        ValueError: When it is anything else.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(
            f"{path}: a list of entries is expected, as in {source}, got "
            f"{type(content).__name__}. {_LAYOUT}"
        )
    return content


def require_id(entry: Any, key: str, where: str) -> int | str:
    """Return the identifier ``entry[key]``, a whole number or a string that is not blank.

    Args:
        entry: One annotation.
        key: Key to read.
        where: File and position, for the error.

    Raises:
        ValueError: When the entry is not a mapping, or the value is absent or anything else.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return require_text(entry, key, where)


def require_texts(entry: Any, key: str, where: str) -> list[str]:
    """Return ``entry[key]``, a string or a list of at least one, as a list of stripped strings.

    Args:
        entry: One annotation.
        key: Key to read.
        where: File and position, for the error.

    Raises:
        ValueError: When the value is absent, empty, or one of the texts is no string or blank.
    """
    values = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(values, list):
        return [require_text(entry, key, where)]
    if not values:
        raise ValueError(f"{where}: {key!r} is an empty list; write a text or remove the entry.")
    return [require_text({key: v}, key, f"{where}: item {i}") for i, v in enumerate(values)]
