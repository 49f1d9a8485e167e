"""Write the tables of the model zoo from the metafiles, or check that they are up to date.

python tools/misc/generate_zoo.py           writes model-index.yml and the tables in
                                            configs/*/README.md, docs/model_zoo.md and
                                            docs/datasets/*.md
python tools/misc/generate_zoo.py --check   changes nothing and fails if something is out of date
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

from uniadapter.utils.errors import one_message
from uniadapter.utils.model_index import read_metafile
from uniadapter.utils.safe_io import atomic_write

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "<!-- table: written by tools/misc/generate_zoo.py from metafile.yml -->"
END = "<!-- end of table -->"
# On a page of a data set: the files of configs/_base_/datasets whose configs are listed.
USERS = re.compile(
    r"(<!-- configs of ([\w ]+): written by tools/misc/generate_zoo.py -->\n)"
    r".*?(<!-- end of configs -->)",
    re.DOTALL,
)
ZOO = "docs/model_zoo.md"
INDEX = "model-index.yml"
NO_FIGURE = "Without a figure"
UNVERIFIED = "unverified"
# A figure was either printed in the paper or comes out of a command.
SOURCES = ("paper, ", "bash ", "python ", "tools/")


def read_page(path: Path) -> str:
    """The text of a page.

    Raises:
        ValueError: If it is none.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}): restore it.") from error


def _parsed(config: Path) -> ast.Module:
    try:
        return ast.parse(read_page(config))
    except SyntaxError as error:
        raise ValueError(f"{config} is no config ({error}): restore it.") from error


def metafiles(root: Path) -> list[Path]:
    """The metafiles of the repository, sorted by folder."""
    return sorted(root.glob("configs/*/metafile.yml"))


def problems(path: Path, content: dict[str, Any], root: Path) -> list[str]:
    """What is wrong with a metafile, in words.

    Args:
        path (Path): The metafile, for the messages.
        content (dict): What it holds.
        root (Path): Root of the repository, to which its paths are relative.
    """
    found = []
    collections = {collection["Name"] for collection in content.get("Collections", [])}
    for collection in content.get("Collections", []):
        readme = collection.get("README")
        if not (root / str(readme)).is_file():
            found.append(f"{collection['Name']}: README {readme} does not exist")
    for model in content["Models"]:
        name = model["Name"]
        if not (root / model["Config"]).is_file():
            found.append(f"{name}: Config {model['Config']} does not exist")
        collection = model.get("In Collection")
        if collection not in list(collections):
            found.append(f"{name}: collection {collection!r} is not defined here")
        found += [
            f"{name}: Source {result.get('Source')!r} is neither 'paper, ...' nor a command"
            for result in model.get("Results") or []
            if not str(result.get("Source", "")).startswith(SOURCES)
        ]
        if not model.get("Results") and not (model.get("Metadata") or {}).get("Task"):
            found.append(f"{name}: without Results, Metadata says the Task")
        found += _weight_problems(model, root)
    listed = {model["Config"] for model in content["Models"]}
    for config in sorted(path.parent.glob("*.py")):
        if config.relative_to(root).as_posix() not in listed:
            found.append(f"{config.relative_to(root)} has no entry")
    return [f"{path.relative_to(root)}: {text}" for text in found]


def _weight_problems(model: dict[str, Any], root: Path) -> list[str]:
    weights, digest = model.get("Weights"), model.get("SHA256")
    foreign = model.get("Converted From")
    if foreign is not None:
        return _foreign_problems(model, foreign)
    if weights is None:
        return [] if digest is None else [f"{model['Name']}: SHA256 without Weights"]
    if is_address(weights):
        return _public_problems(model["Name"], model)
    if not (root / weights).is_file():
        return [f"{model['Name']}: Weights {weights} do not exist"]
    actual = hashlib.sha256((root / weights).read_bytes()).hexdigest()
    return [] if actual == digest else [f"{model['Name']}: SHA256 of {weights} is {actual}"]


def is_address(weights: Any) -> bool:
    """Whether weights are at a public address rather than a file of the repository."""
    return str(weights).startswith(("https://", "http://"))


def _public_problems(name: str, facts: dict[str, Any]) -> list[str]:
    """What is wrong with what is said of a file at a public address."""
    found = []
    digest, size = facts.get("SHA256"), facts.get("Size")
    if digest is not None and not re.fullmatch("[0-9a-f]{64}", str(digest)):
        found.append(f"{name}: SHA256 {digest!r} is none, write 64 digits, or null")
    if size is not None and (not isinstance(size, int) or size < 1):
        found.append(f"{name}: Size {size!r} is no number of bytes")
    said = facts.get("Checked")
    if said != (None if digest else UNVERIFIED):
        found.append(f"{name}: a file without SHA256 says Checked: {UNVERIFIED}, and no other does")
    return found


def _foreign_problems(model: dict[str, Any], foreign: dict[str, Any]) -> list[str]:
    """What is wrong with what is said of a file in another project's layout."""
    name = model["Name"]
    found = [
        f"{name}: Converted From lacks {key}"
        for key in ("Weights", "Layout", "Code")
        if not foreign.get(key)
    ]
    if model.get("Weights") is not None:
        found.append(f"{name}: Weights are in our layout, Converted From has none of those")
    if foreign.get("Weights") and not is_address(foreign["Weights"]):
        found.append(f"{name}: Converted From has no address: {foreign['Weights']}")
    return found + _public_problems(name, foreign)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def tables(models: list[dict[str, Any]], link_from: str) -> str:
    """Markdown tables of models, one a task, and one of the models without a figure.

    Args:
        models (list[dict]): Entries of metafiles.
        link_from (str): Folder of the page the tables are for, relative to the root, such as
            ``'docs'``.
    """
    groups: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for model in models:
        for result in model.get("Results") or []:
            groups.setdefault(result["Task"], []).append((model, result))
    bare = [(model, {}) for model in models if not model.get("Results")]
    if bare:
        groups[NO_FIGURE] = bare
    return "\n\n".join(
        f"**{title}**\n\n{_table(rows, link_from)}" for title, rows in groups.items()
    )


def _table(rows: list[tuple[dict[str, Any], dict[str, Any]]], link_from: str) -> str:
    figures = [result.get("Metrics") or {} for _, result in rows]
    metrics = list(dict.fromkeys(metric for figure in figures for metric in figure))
    header = ["Config", "Data", "Adapter parameters", *metrics]
    header += ["Source of the figures"] if metrics else []
    header.append("Weights")
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    up = "../" * len(Path(link_from).parts)
    for model, result in rows:
        metadata = model.get("Metadata") or {}
        row = [f"[{Path(model['Config']).stem}]({up}{model['Config']})"]
        row.append(result.get("Dataset", metadata.get("Training Data", "")))
        row.append(_cell(metadata.get("Parameters", {}).get("adapter", "")))
        row += [_cell((result.get("Metrics") or {}).get(metric, "")) for metric in metrics]
        if metrics:
            source = result["Source"]
            row.append(source if source.startswith("paper") else f"`{source}`")
        lines.append("| " + " | ".join([*row, _weights_cell(model, up)]) + " |")
    return "\n".join(lines)


def _weights_cell(model: dict[str, Any], up: str) -> str:
    """Where weights are, and what shows that a file is the right one."""
    foreign = model.get("Converted From")
    facts = foreign or model
    weights = facts.get("Weights")
    if not weights:
        return "none yet"
    digest = facts.get("SHA256")
    checked = f"sha256 `{str(digest)[:12]}`" if digest else UNVERIFIED
    if foreign:
        name = weights.rpartition("/")[2]
        return f"`{model['Name']}`: [{name}]({weights}), {checked}, layout `{foreign['Layout']}`"
    if is_address(weights):
        return f"[download]({weights}), {checked}"
    return f"[file]({up}{weights}), {checked}"


def put_table(text: str, new: str, name: str) -> str:
    """Replace what is between the marks of a page.

    Raises:
        ValueError: If the page lacks the marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{name} must hold the lines {BEGIN!r} and {END!r} once each.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{rest.split(END)[1]}"


def bases(config: Path, read: dict[Path, set[Path]]) -> set[Path]:
    """All files that a config inherits, as its text says; nothing of it is run.

    Args:
        config: The file.
        read: What was found before, by file; gets what is found now.
    """
    if config in read:
        return read[config]
    found: set[Path] = set()
    for node in _parsed(config).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_base_":
            names = ast.literal_eval(node.value)
            for name in [names] if isinstance(names, str) else names:
                path = (config.parent / name).resolve()
                found |= {path} | bases(path, read)
    read[config] = found
    return found


def users(
    models: list[dict[str, Any]], inherited: dict[str, set[Path]], names: list[str], root: Path
) -> str:
    """Markdown of the configs that read certain data.

    Args:
        models: Entries of all metafiles.
        inherited: What each of their configs inherits.
        names: Files of ``configs/_base_/datasets``, without their ending.
        root: Root of the repository; links are those of a page in ``docs/datasets``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no config reads one of them.
    """
    wanted = [root / f"configs/_base_/datasets/{name}.py" for name in names]
    for path in wanted:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
    for path in wanted:
        if not any(path in found for found in inherited.values()):
            raise ValueError(f"no config reads {path.relative_to(root)}")
    chosen = [model for model in models if inherited.get(model["Config"], set()) & set(wanted)]
    up = "../../"
    folders: dict[str, list[str]] = {}
    for config in dict.fromkeys(model["Config"] for model in chosen):
        link = f"[{Path(config).stem}]({up}{config})"
        folders.setdefault(Path(config).parent.as_posix(), []).append(link)
    lines = ["| folder | configs |", "| --- | --- |"]
    lines += [f"| `{folder}` | {', '.join(links)} |" for folder, links in folders.items()]
    figures = ["| config | measures | figures | source |", "| --- | --- | --- | --- |"]
    for model in chosen:
        for result in model.get("Results") or []:
            values = ", ".join(
                f"{name} {_cell(v)}" for name, v in (result.get("Metrics") or {}).items()
            )
            source = result["Source"]
            source = source if source.startswith("paper") else f"`{source}`"
            name = f"[{Path(model['Config']).stem}]({up}{model['Config']})"
            figures.append(f"| {name} | {result['Dataset']} | {values} | {source} |")
    return "\n".join(lines + ([""] + figures if len(figures) > 2 else []))


def dataset_pages(models: list[dict[str, Any]], root: Path) -> dict[Path, str]:
    """The pages of data sets with their lists of configs."""
    read: dict[Path, set[Path]] = {}
    files = {model["Config"]: root / model["Config"] for model in models}
    inherited = {name: bases(path, read) for name, path in files.items() if path.is_file()}

    def fill(mark: re.Match[str]) -> str:
        return f"{mark[1]}\n{users(models, inherited, mark[2].split(), root)}\n\n{mark[3]}"

    pages = sorted(root.glob("docs/datasets/*.md"))
    return {page: USERS.sub(fill, read_page(page)) for page in pages}


def render(root: Path) -> tuple[dict[Path, str], list[str]]:
    """The generated files with their contents, and what is wrong with the metafiles."""
    pages: dict[Path, str] = {}
    errors: list[str] = []
    sections = []
    models: list[dict[str, Any]] = []
    for path in metafiles(root):
        content = read_metafile(path)
        errors += problems(path, content, root)
        models += content["Models"]
        folder = path.parent.relative_to(root).as_posix()
        readme = path.parent / "README.md"
        if readme.is_file() and BEGIN in read_page(readme):
            text = read_page(readme)
            new = tables(content["Models"], folder)
            pages[readme] = put_table(text, new, f"{folder}/README.md")
        section = tables(content["Models"], str(Path(ZOO).parent))
        sections.append(f"## {folder}\n\n{section}")
    zoo = root / ZOO
    pages[zoo] = put_table(read_page(zoo), "\n\n".join(sections), ZOO)
    pages |= dataset_pages(models, root)
    lines = [f"  - {path.relative_to(root).as_posix()}" for path in metafiles(root)]
    pages[root / INDEX] = "\n".join(["Import:", *lines]) + "\n"
    return pages, errors


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    try:
        pages, errors = render(root)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")
    if errors and not args.check:
        # Tables of wrong entries would be wrong themselves.
        sys.exit("error: " + "\nerror: ".join(errors))
    for page, text in pages.items():
        if page.is_file() and read_page(page) == text:
            continue
        if args.check:
            errors.append(
                f"{page.relative_to(root)} is out of date: run python tools/misc/generate_zoo.py"
            )
        else:
            atomic_write(page, text.encode())
            print(f"wrote {page.relative_to(root)}")
    if errors:
        sys.exit("error: " + "\nerror: ".join(errors))


if __name__ == "__main__":
    main()
