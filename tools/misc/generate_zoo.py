"""Write the tables of the model zoo from the metafiles, or check that they are up to date.

python tools/misc/generate_zoo.py           writes model-index.yml and the tables in
                                            configs/*/README.md and docs/model_zoo.md
python tools/misc/generate_zoo.py --check   changes nothing and fails if something is out of date
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "<!-- table: written by tools/misc/generate_zoo.py from metafile.yml -->"
END = "<!-- end of table -->"
ZOO = "docs/model_zoo.md"
INDEX = "model-index.yml"
NO_FIGURE = "Without a figure"
# A figure was either printed in the paper or comes out of a command.
SOURCES = ("paper, ", "bash ", "python ", "tools/")


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
        if not (root / collection["README"]).is_file():
            found.append(f"{collection['Name']}: README {collection['README']} does not exist")
    for model in content["Models"]:
        name = model["Name"]
        if not (root / model["Config"]).is_file():
            found.append(f"{name}: Config {model['Config']} does not exist")
        if model["In Collection"] not in collections:
            found.append(f"{name}: collection {model['In Collection']!r} is not defined here")
        found += [
            f"{name}: Source {result.get('Source')!r} is neither 'paper, ...' nor a command"
            for result in model.get("Results") or []
            if not str(result.get("Source", "")).startswith(SOURCES)
        ]
        found += _weight_problems(model, root)
    listed = {model["Config"] for model in content["Models"]}
    for config in sorted(path.parent.glob("*.py")):
        if config.relative_to(root).as_posix() not in listed:
            found.append(f"{config.relative_to(root)} has no entry")
    return [f"{path.relative_to(root)}: {text}" for text in found]


def _weight_problems(model: dict[str, Any], root: Path) -> list[str]:
    weights, digest = model.get("Weights"), model.get("SHA256")
    if weights is None:
        return [] if digest is None else [f"{model['Name']}: SHA256 without Weights"]
    if not (root / weights).is_file():
        return [f"{model['Name']}: Weights {weights} do not exist"]
    actual = hashlib.sha256((root / weights).read_bytes()).hexdigest()
    return [] if actual == digest else [f"{model['Name']}: SHA256 of {weights} is {actual}"]


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
    figures = [result.get("Metrics", {}) for _, result in rows]
    metrics = list(dict.fromkeys(metric for figure in figures for metric in figure))
    header = ["Config", "Data", "Adapter parameters", *metrics]
    header += ["Source of the figures"] if metrics else []
    header.append("Weights")
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    up = "../" * len(Path(link_from).parts)
    for model, result in rows:
        metadata = model.get("Metadata", {})
        row = [f"[{Path(model['Config']).stem}]({up}{model['Config']})"]
        row.append(result.get("Dataset", metadata.get("Training Data", "")))
        row.append(_cell(metadata.get("Parameters", {}).get("adapter", "")))
        row += [_cell(result["Metrics"].get(metric, "")) for metric in metrics]
        if metrics:
            source = result["Source"]
            row.append(source if source.startswith("paper") else f"`{source}`")
        weights = "none yet"
        if model.get("Weights"):
            weights = f"[file]({up}{model['Weights']}), sha256 `{str(model.get('SHA256'))[:12]}`"
        lines.append("| " + " | ".join([*row, weights]) + " |")
    return "\n".join(lines)


def put_table(text: str, new: str, name: str) -> str:
    """Replace what is between the marks of a page.

    Raises:
        ValueError: If the page lacks the marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{name} must hold the lines {BEGIN!r} and {END!r} once each.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{rest.split(END)[1]}"


def render(root: Path) -> tuple[dict[Path, str], list[str]]:
    """The generated files with their contents, and what is wrong with the metafiles."""
    pages: dict[Path, str] = {}
    errors: list[str] = []
    sections = []
    for path in metafiles(root):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        errors += problems(path, content, root)
        folder = path.parent.relative_to(root).as_posix()
        readme = path.parent / "README.md"
        if readme.is_file() and BEGIN in readme.read_text(encoding="utf-8"):
            text = readme.read_text(encoding="utf-8")
            new = tables(content["Models"], folder)
            pages[readme] = put_table(text, new, f"{folder}/README.md")
        section = tables(content["Models"], str(Path(ZOO).parent))
        sections.append(f"## {folder}\n\n{section}")
    zoo = root / ZOO
    pages[zoo] = put_table(zoo.read_text(encoding="utf-8"), "\n\n".join(sections), ZOO)
    lines = [f"  - {path.relative_to(root).as_posix()}" for path in metafiles(root)]
    pages[root / INDEX] = "\n".join(["Import:", *lines]) + "\n"
    return pages, errors


def main(argv: list[str] | None = None) -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    try:
        pages, errors = render(root)
    except (FileNotFoundError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")
    for page, text in pages.items():
        if page.is_file() and page.read_text(encoding="utf-8") == text:
            continue
        if args.check:
            errors.append(
                f"{page.relative_to(root)} is out of date: run python tools/misc/generate_zoo.py"
            )
        else:
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(root)}")
    if errors:
        sys.exit("error: " + "\nerror: ".join(errors))


if __name__ == "__main__":
    main()
