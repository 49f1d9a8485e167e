"""Entry of the console command: finds a command and hands the arguments on."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from uniadapter.utils.errors import one_message
from uniadapter.utils.options import near_name
from uniadapter.version import __version__

from . import commands

_FOLDER = Path(commands.__file__).parent
USAGE = """usage: uniadapter COMMAND [ARGUMENT ...]

Adapt frozen vision-language models. Commands:

{table}

`uniadapter COMMAND --help` says what each takes. Configs are files, or the project's own by name:
uniadapter_msrvtt_r512 or uniadapter::uniadapter/msrvtt_r512.py. A config is a program that runs
when it is read: open only trusted ones."""


def known_commands() -> dict[str, str]:
    """What each command is for, by its name; no module is imported for it."""
    found = {}
    for file in sorted(_FOLDER.glob("*.py")):
        if not file.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            found[file.stem] = text.partition("\n")[0]
    return found


def usage() -> str:
    """The list of commands."""
    known = known_commands()
    width = max(map(len, known))
    return USAGE.format(table="\n".join(f"  {n:<{width}}  {text}" for n, text in known.items()))


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: What stands behind ``uniadapter``; None takes the process's arguments.

    Returns:
        The exit status.
    """
    arguments = sys.argv[1:] if argv is None else argv
    first = arguments[0] if arguments else ""
    if first in ("-V", "--version"):
        print(f"uniadapter {__version__}")
        return 0
    if first in ("-h", "--help"):
        print(usage())
        return 0
    known = known_commands()
    if first not in known:
        said = f"there is no command {first!r}.{near_name(first, known)}" if first else "name one."
        print(f"{usage()}\n\nerror: {said}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"{commands.__name__}.{first}")
    with one_message():
        status: int | None = module.main(arguments[1:])
    return status or 0
