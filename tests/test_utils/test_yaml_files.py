"""YAML and metafiles with all that can be wrong in them: they are read, or one error names them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import OTHERS, damaged
from tests.helpers import ROOT, draws
from tests.malformed import outcome, spoiled
from uniadapter.apis.publish import add_entry
from uniadapter.utils.model_index import read_metafile
from uniadapter.utils.yaml_files import read_yaml

METAFILE: dict[str, Any] = {
    "Collections": [{"Name": "A", "README": "configs/a/README.md"}],
    "Models": [
        {
            "Name": "a",
            "Config": "configs/a/a.py",
            "In Collection": "A",
            "Metadata": {"Parameters": {"adapter": 3}},
            "Results": [{"Task": "Retrieval", "Dataset": "B", "Metrics": {"R@1": 3.5}}],
        }
    ],
}
ENTRY = {"Name": "b", "Config": "configs/a/b.py", "Results": []}
_numbers = itertools.count()


@settings(max_examples=draws(30, deep=500))
@given(data=st.data())
def test_metafiles(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.getbasetemp() / f"metafiles{next(_numbers)}"
    folder.mkdir()
    path, text = folder / "metafile.yml", yaml.safe_dump(METAFILE, sort_keys=False).encode()
    # JSON is YAML.
    content = data.draw(st.one_of(damaged(text), spoiled(METAFILE), spoiled(METAFILE)))
    path.write_bytes(content)
    outcome(lambda: read_yaml(path), folder)
    outcome(lambda: read_metafile(path), folder)
    if outcome(lambda: add_entry(path, ENTRY) or 1, folder) is None:
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1, 2", "line 2: not valid YAML"),
        ("a: 1\nb: *c\n", "line 2: not valid YAML"),
        ("a: 1\n b: 2\n", "line 2: not valid YAML"),
        ("a: !!python/object/apply:os.system [true]", "line 1: not valid YAML"),
        # A reader in C that calls itself would end the process.
        ("[" * 100_000 + "]" * 100_000, "not valid YAML .it is nested too deeply"),
        ("{a: " * 100_000 + "}" * 100_000, "not valid YAML .it is nested too deeply"),
        ("- " * 100_000 + "a", "not valid YAML .it is nested too deeply"),
        ("? " * 100_000 + "a", "not valid YAML .it is nested too deeply"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("? [a]\n: 1", "line 1: not valid YAML"),
        ("a: \0", "not valid YAML"),
        (b"\xff\xfe\xff", "not valid YAML"),
    ],
    ids=range(13),
)
def test_where_it_is_wrong(content: str | bytes, said: str, tmp_path: Path):
    path = tmp_path / "a.yml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=rf"a\.yml: {said}"):
        read_yaml(path)


@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_other_files_are_no_metafiles(kind: str, tmp_path: Path):
    (tmp_path / "metafile.yml").write_bytes(OTHERS[kind])
    if kind == "JSON":
        assert read_metafile(tmp_path / "metafile.yml") == {"Collections": [], "Models": []}
        return
    with pytest.raises(ValueError, match=r"metafile\.yml"):
        read_metafile(tmp_path / "metafile.yml")


def test_a_mark_in_front_is_none_of_it(tmp_path: Path):
    (tmp_path / "a.yml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_yaml(tmp_path / "a.yml") == {"a": 1, "b": 2}
    with pytest.raises(FileNotFoundError, match=r"b\.yml does not exist"):
        read_yaml(tmp_path / "b.yml")


def test_the_projects_own_are_read():
    for path in sorted(ROOT.glob("configs/*/metafile.yml")):
        assert read_metafile(path)["Models"], path
