from __future__ import annotations

import hashlib
import shutil

import pytest

from tools.misc.generate_zoo import BEGIN, END, main, put_table, tables

METAFILE = """
Collections:
  - Name: Method
    README: configs/method/README.md
Models:
  - Name: model_a
    Config: configs/method/a.py
    In Collection: Method
    Metadata: {Training Data: Data, Parameters: {adapter: 1234}}
    Results:
      - Task: Retrieval
        Dataset: Data
        Metrics: {R@1: 50.5}
        Source: SOURCE
    Weights: WEIGHTS
    SHA256: DIGEST
"""


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "configs/method"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("model = dict()\n")
    (tmp_path / "docs").mkdir()
    for page in (folder / "README.md", tmp_path / "docs/model_zoo.md"):
        page.write_text(f"# Page\n\n{BEGIN}\n{END}\n\nThe end.\n")

    def write(source="paper, table 1", weights="null", digest="null"):
        text = METAFILE.replace("SOURCE", source).replace("WEIGHTS", weights)
        (folder / "metafile.yml").write_text(text.replace("DIGEST", digest))
        return tmp_path

    write()
    return write


def test_the_repository_is_up_to_date():
    main(["--check"])


def test_tables_are_written_and_then_up_to_date(repo):
    root = repo()
    with pytest.raises(SystemExit, match="README.md is out of date: run python tools/misc"):
        main(["--check", "--root", str(root)])
    main(["--root", str(root)])
    main(["--check", "--root", str(root)])
    text = (root / "configs/method/README.md").read_text()
    row = "| [a](../../configs/method/a.py) | Data | 1,234 | 50.5 | paper, table 1 | none yet |"
    assert row in text
    assert text.startswith("# Page\n")
    assert text.endswith("The end.\n")
    assert (root / "model-index.yml").read_text() == "Import:\n  - configs/method/metafile.yml\n"


def test_a_command_is_a_source_and_a_claim_is_not(repo):
    main(["--root", str(repo(source="bash tools/quickstart.sh"))])
    assert "`bash tools/quickstart.sh`" in (repo() / "docs/model_zoo.md").read_text()
    with pytest.raises(SystemExit, match="Source 'our runs' is neither 'paper, ...' nor a command"):
        main(["--root", str(repo(source="our runs"))])


def test_weights_are_checked_against_their_digest(repo):
    with pytest.raises(SystemExit, match="Weights w.bin do not exist"):
        main(["--root", str(repo(weights="w.bin"))])
    (repo() / "w.bin").write_bytes(b"tensors")
    digest = hashlib.sha256(b"tensors").hexdigest()
    with pytest.raises(SystemExit, match=f"SHA256 of w.bin is {digest}"):
        main(["--root", str(repo(weights="w.bin", digest="'12'"))])
    main(["--root", str(repo(weights="w.bin", digest=f"'{digest}'"))])
    with pytest.raises(SystemExit, match="SHA256 without Weights"):
        main(["--root", str(repo(digest="'12'"))])


FOREIGN = """null
    Converted From:
      Weights: WHERE
      Layout: blip
      Code: https://example.org/code
      SHA256: {}
      Checked: {}
"""


def test_weights_may_be_at_a_public_address(repo):
    address = "https://example.org/a/model.pth"
    digest = "0" * 64
    main(["--root", str(repo(weights=address, digest=f"'{digest}'"))])
    page = repo() / "docs/model_zoo.md"
    assert f"| [download]({address}), sha256 `000000000000` |" in page.read_text()
    with pytest.raises(SystemExit, match="without SHA256 says Checked: unverified"):
        main(["--root", str(repo(weights=address))])
    main(["--root", str(repo(weights=address, digest="null\n    Checked: unverified"))])
    assert f"| [download]({address}), unverified |" in page.read_text()
    for wrong in ("'12'", f"'{digest}'\n    Size: 1.5", f"'{digest}'\n    Checked: unverified"):
        with pytest.raises(SystemExit, match="(SHA256 '12' is none|Size 1.5 is no|no other does)"):
            main(["--root", str(repo(weights=address, digest=wrong))])


def test_weights_in_another_layout_say_so(repo):
    address = "https://example.org/a/model.pth"
    foreign = FOREIGN.format("null", "unverified").replace("WHERE", address)
    main(["--root", str(repo(digest=foreign))])
    cell = f"| `model_a`: [model.pth]({address}), unverified, layout `blip` |"
    assert cell in (repo() / "docs/model_zoo.md").read_text()
    for wrong, said in [
        (foreign.replace("Layout: blip", "Layout: null"), "lacks Layout"),
        (foreign.replace(address, "model.pth"), "no address"),
        (foreign.replace("unverified", "null"), "says Checked"),
    ]:
        with pytest.raises(SystemExit, match=said):
            main(["--root", str(repo(digest=wrong))])
    with pytest.raises(SystemExit, match="none of those"):
        main(["--root", str(repo(weights=address, digest=foreign))])


def test_a_model_without_figures_says_its_task(repo):
    root = repo()
    file = root / "configs/method/metafile.yml"
    text = file.read_text()
    start, end = text.index("    Results:"), text.index("    Weights:")
    file.write_text(text[:start] + "    Results: []\n" + text[end:])
    with pytest.raises(SystemExit, match="without Results, Metadata says the Task"):
        main(["--root", str(root)])


def test_every_config_needs_an_entry_and_every_entry_a_config(repo):
    folder = repo() / "configs/method"
    shutil.copy(folder / "a.py", folder / "b.py")
    with pytest.raises(SystemExit, match="configs/method/b.py has no entry"):
        main(["--root", str(repo())])
    (folder / "b.py").unlink()
    (folder / "a.py").unlink()
    with pytest.raises(SystemExit, match="Config configs/method/a.py does not exist"):
        main(["--root", str(repo())])


def test_a_page_without_marks_is_an_error():
    with pytest.raises(ValueError, match="page.md must hold the lines"):
        put_table("# Page\n", "table", "page.md")


def test_models_without_figures_say_so():
    text = tables([{"Name": "b", "Config": "configs/m/b.py"}], "docs")
    assert text.startswith("**Without a figure**")
    assert text.splitlines()[-1] == "| [b](../configs/m/b.py) |  |  | none yet |"


DATA = "<!-- configs of NAMES: written by tools/misc/generate_zoo.py -->\n<!-- end of configs -->\n"


def test_a_page_of_a_data_set_lists_the_configs_that_read_it(repo):
    root = repo()
    bases = root / "configs/_base_/datasets"
    bases.mkdir(parents=True)
    (bases / "photos.py").write_text("data_root = 'data/photos/'\n")
    (bases / "photos_small.py").write_text("_base_ = './photos.py'\n")
    (bases / "other.py").write_text("data_root = 'data/other/'\n")
    config = root / "configs/method/a.py"
    config.write_text("_base_ = ['../_base_/datasets/photos_small.py']\n")
    page = root / "docs/datasets/photos.md"
    page.parent.mkdir()
    page.write_text(f"# Photos\n\n{DATA.replace('NAMES', 'photos')}The end.\n")
    main(["--root", str(root)])
    main(["--check", "--root", str(root)])
    text = page.read_text()
    assert "| `configs/method` | [a](../../configs/method/a.py) |" in text
    assert "| [a](../../configs/method/a.py) | Data | R@1 50.5 | paper, table 1 |" in text
    assert text.endswith("The end.\n")
    page.write_text(DATA.replace("NAMES", "other"))
    with pytest.raises(SystemExit, match=r"no config reads configs/_base_/datasets/other\.py"):
        main(["--root", str(root)])
    page.write_text(DATA.replace("NAMES", "pictures"))
    with pytest.raises(SystemExit, match=r"pictures\.py does not exist"):
        main(["--root", str(root)])
