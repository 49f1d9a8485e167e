"""Commands that are scripts of ``tools/``, in one process or started by torchrun in several."""

from __future__ import annotations

import sys
from types import ModuleType

from torch.distributed.run import get_args_parser
from torch.distributed.run import main as torchrun

from uniadapter.utils.paths import resource

# Options of torchrun that say what it starts, which is known here.
_NOT_TAKEN = {"--help", "--module", "--no-python", "--no_python", "--run-path", "--run_path"}


def run_script(command: str, relative: str, argv: list[str], about: str | None) -> None:
    """Run a script of ``tools/`` as ``python FILE ...`` does, under the command's name.

    Args:
        command: Name of the command.
        relative: The script, from the project's root.
        argv: Its arguments.
        about: What the command is for, shown in front of the script's ``--help``.

    Raises:
        SystemExit: With the script's status, where it has one.
    """
    path = resource(relative)
    if {"-h", "--help"} & set(argv):
        print(f"{about}\n")
    # Processes that the script starts look its functions up in the main module.
    script = ModuleType("__main__")
    script.__file__ = str(path)
    former = sys.modules["__main__"], sys.argv
    sys.modules["__main__"], sys.argv = script, [f"uniadapter {command}", *argv]
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), script.__dict__)
    finally:
        sys.modules["__main__"], sys.argv = former


def run_processes(command: str, relative: str, argv: list[str], about: str | None) -> None:
    """As :func:`run_script`, in as many processes as torchrun's options among the arguments say.

    Args:
        command: Name of the command.
        relative: The script, which takes ``--launcher pytorch``.
        argv: Options of torchrun and of the script, in any order.
        about: What the command is for.

    Raises:
        SystemExit: With the script's status, where it has one.
    """
    theirs, ours = split_torchrun(argv)
    if not theirs:
        run_script(command, relative, ours, about)
        return
    if not any(word.partition("=")[0] == "--launcher" for word in ours):
        ours = [*ours, "--launcher", "pytorch"]
    torchrun([*theirs, "-m", "uniadapter", command, *ours])


def split_torchrun(argv: list[str]) -> tuple[list[str], list[str]]:
    """Tell torchrun's long options, with their values, from the other arguments.

    Args:
        argv: Arguments in any order.

    Returns:
        torchrun's, and the others.
    """
    options = {
        name: action.nargs != 0
        for action in get_args_parser()._actions
        for name in action.option_strings
        if name.startswith("--") and name not in _NOT_TAKEN
    }
    theirs: list[str] = []
    ours: list[str] = []
    words = iter(argv)
    for word in words:
        name, mark, _ = word.partition("=")
        if name not in options:
            ours.append(word)
            continue
        theirs.append(word)
        if options[name] and not mark:
            theirs += [value for value in [next(words, None)] if value is not None]
    return theirs, ours
