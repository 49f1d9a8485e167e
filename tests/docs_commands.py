"""Commands of the documentation, held against the tools that they name without running them."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from tests.helpers import ROOT, load_tool
from uniadapter.cli.main import known_commands
from uniadapter.cli.main import main as command_line
from uniadapter.cli.scripts import split_torchrun
from uniadapter.engine.runner.check_options import check_options
from uniadapter.models.build import check_model_cfg
from uniadapter.utils.config import load_config

#: Programs of others; what is said to them is theirs to judge.
FOREIGN = ("apt-get", "cd", "cp", "dpkg", "git", "mkdir", "pip", "source", "unzip")
MODULES = ("pip", "pytest", "sphinx")
# What stands for a path of the reader's.
OF_THE_READER = ("configs/mine/",)
# Tools whose own checks ask for files that only the reader has.
NEEDS_FILES = ("tools/analysis_tools/compare_checkouts.py",)
# Arguments that the launching scripts take in front of those of the tool.
LAUNCHERS = {
    "tools/dist_train.sh": ("train.py", ("config", "number")),
    "tools/dist_test.sh": ("test.py", ("config", "file", "number")),
    "tools/slurm_train.sh": ("train.py", ("word", "word", "config")),
    "tools/slurm_test.sh": ("test.py", ("word", "word", "config", "file")),
}


class WrongCommandError(ValueError):
    """A command that can't be typed as it stands."""


class _ParsedError(Exception):
    def __init__(self, values: argparse.Namespace) -> None:
        super().__init__()
        self.values = values


def commands_of(code: str) -> Iterator[list[str]]:
    """Words of each command of a shell block; its own variables are replaced."""
    variables: dict[str, str] = {}
    for line in code.replace("\\\n", " ").splitlines():
        line = line.removeprefix("$ ")
        for name, value in variables.items():
            line = re.sub(rf"\${name}\b", lambda _, value=value: value, line)
        words = shlex.split(line, comments=True)
        if len(words) == 1 and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, value = words[0].partition("=")
            variables[name] = value
            continue
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command = command[1:]
            if command:
                yield command


def check(words: Sequence[str]) -> None:
    """Raise :class:`WrongCommandError` where a command would not be taken as it stands."""
    program, rest = words[0].removeprefix(".venv/bin/"), list(words[1:])
    if program == "bash" or program.startswith("tools/"):
        _check_script([program, *rest] if program != "bash" else rest)
    elif program == "python":
        if rest[0] == "-m":
            if rest[1] not in MODULES:
                raise WrongCommandError(f"python -m {rest[1]}")
            return
        _check_tool(rest[0], rest[1:])
    elif program == "uniadapter":
        _check_command(rest)
    elif program == "sbatch":
        wrapped = next(b for a, b in zip(rest, rest[1:], strict=False) if a == "--wrap")
        for command in commands_of(wrapped.replace("$SLURM_ARRAY_TASK_ID", "0")):
            check(command)
    elif program == "pytest":
        _must_exist(rest[0])
    elif program == "pip":
        _check_pip(rest)
    elif program not in FOREIGN:
        raise WrongCommandError(f"no program of ours is called {program}")


def _must_exist(path: str) -> None:
    if not path.startswith(OF_THE_READER) and not (ROOT / path).exists():
        raise WrongCommandError(f"{path} does not exist")


def _check_pip(words: list[str]) -> None:
    extras = re.findall(r"^ {8}\"?([\w-]+)\"?: ", (ROOT / "setup.py").read_text(), re.MULTILINE)
    for word in words:
        if found := re.fullmatch(r"\.\[(.*)\]|uniadapter\[(.*)\]", word):
            for name in (found[1] or found[2]).split(","):
                if name not in extras:
                    raise WrongCommandError(f"setup.py has no extra {name}")
    if "-r" in words:
        _must_exist(words[words.index("-r") + 1])


def _check_script(words: list[str]) -> None:
    """A shell script of ``tools/``."""
    path, rest = words[0], words[1:]
    _must_exist(path)
    if path not in LAUNCHERS:
        text = (ROOT / path).read_text(encoding="utf-8")
        unknown = [word for word in rest if word not in text]
        if unknown:
            raise WrongCommandError(f"{path} knows no {unknown}")
        return
    tool, kinds = LAUNCHERS[path]
    given = dict(zip(kinds, rest, strict=False))
    if len(rest) < len(kinds) or ("number" in given and not given["number"].isdigit()):
        raise WrongCommandError(f"{path} takes {kinds}, not {rest}")
    ours = [word for kind, word in zip(kinds, rest, strict=False) if kind in ("config", "file")]
    _check_tool(f"tools/{tool}", [*ours, *rest[len(kinds) :]])


@cache
def _tool(path: str) -> ModuleType:
    if path.startswith("tools/"):
        return load_tool(path.removeprefix("tools/"))
    return importlib.import_module(path.removesuffix(".py").replace("/", "."))


def _check_tool(path: str, arguments: list[str]) -> None:
    """A Python script of this repository: its own parser has to take the arguments."""
    _must_exist(path)
    tool = _tool(path)
    parse = getattr(tool, "parse_args", None)
    if parse is None or path in NEEDS_FILES:
        parse = _parser_of(tool.main)
    try:
        values = parse(arguments)
    except (SystemExit, ValueError) as error:
        raise WrongCommandError(f"{path} {arguments}: {error}") from error
    _check_values(values)


def _parser_of(main: Any) -> Any:
    """What ``main`` does up to the values of its parser."""

    def parse(arguments: list[str]) -> argparse.Namespace:
        original = argparse.ArgumentParser.parse_args

        def stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
            raise _ParsedError(original(self, *args, **kwargs))

        with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
            try:
                main(arguments)
            except _ParsedError as parsed:
                return parsed.values
        raise WrongCommandError(f"{main.__module__} reads no arguments")

    return parse


def _check_command(words: list[str]) -> None:
    """The command ``uniadapter``."""
    if words[0] in ("--help", "--version"):
        return
    if words[0] not in known_commands():
        raise WrongCommandError(f"uniadapter has no command {words[0]}")
    ours = split_torchrun(words)[1] if words[0] in ("train", "test") else words
    try:
        values = _parser_of(command_line)(ours)
    except SystemExit as error:
        raise WrongCommandError(f"uniadapter {words}: {error}") from error
    _check_values(values)


def _check_values(values: argparse.Namespace) -> None:
    """Configs that arguments name exist, and have the keys that ``--cfg-options`` overrides."""
    config = getattr(values, "config", None)
    configs = [config] if isinstance(config, str | Path) else config or []
    for path in map(str, configs):
        if path.startswith(OF_THE_READER):
            continue
        try:
            _load(path, repr(getattr(values, "cfg_options", None) or {}))
        except (FileNotFoundError, ValueError) as error:
            raise WrongCommandError(str(error)) from error


@cache
def _load(path: str, options: str) -> None:
    overrides = ast.literal_eval(options)
    cfg = load_config(path, overrides)
    if overrides and "model" in cfg:
        check_model_cfg(cfg.model)
        check_options(cfg)
