"""Commands that are scripts, and torchrun's options among their arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from uniadapter.cli import scripts
from uniadapter.cli.main import main
from uniadapter.cli.scripts import run_script, split_torchrun


@pytest.mark.parametrize(
    ("argv", "theirs", "ours"),
    [
        (["c.py", "--amp"], [], ["c.py", "--amp"]),
        (
            ["--nproc-per-node", "8", "c.py", "--work-dir", "w"],
            ["--nproc-per-node", "8"],
            ["c.py", "--work-dir", "w"],
        ),
        (
            ["c.py", "--nnodes=2", "--amp", "--standalone", "--node_rank", "1"],
            ["--nnodes=2", "--standalone", "--node_rank", "1"],
            ["c.py", "--amp"],
        ),
        # A value like the config's name stays with its option; an option of ours isn't torchrun's.
        (["--role", "c.py", "d.py", "-h"], ["--role", "c.py"], ["d.py", "-h"]),
        (["c.py", "--no-validate", "--nnodes"], ["--nnodes"], ["c.py", "--no-validate"]),
    ],
)
def test_split(argv: list[str], theirs: list[str], ours: list[str]) -> None:
    assert split_torchrun(argv) == (theirs, ours)


@pytest.mark.parametrize("launcher", [[], ["--launcher", "mpi"], ["--launcher=mpi"]])
def test_several_processes(launcher: list[str], monkeypatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(scripts, "torchrun", started.append)
    assert main(["test", "c.py", "--nproc-per-node=2", "a.pth", *launcher]) == 0
    wanted = launcher or ["--launcher", "pytorch"]
    assert started == [["--nproc-per-node=2", "-m", "uniadapter", "test", "c.py", "a.pth", *wanted]]


def test_a_script_runs_as_the_main_module(tmp_path: Path, monkeypatch, capsys) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "def f(): pass\n"
        "if __name__ == '__main__':\n"
        "    assert sys.modules['__main__'].f is f and __file__.endswith('script.py')\n"
        "    print(sys.argv)\n"
        "    sys.exit(3)\n"
    )
    monkeypatch.setattr(scripts, "resource", lambda name: tmp_path / name)
    before = sys.modules["__main__"], list(sys.argv)
    with pytest.raises(SystemExit) as caught:
        run_script("name", "script.py", ["--a", "b"], "What for.")
    assert caught.value.code == 3
    assert (sys.modules["__main__"], sys.argv) == before
    assert capsys.readouterr().out == "['uniadapter name', '--a', 'b']\n"


def test_errors_of_a_script_are_one_message(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"error: Checkpoint none.pth does not exist"):
        main(["test", "uniadapter::tiny/msrvtt_r32.py", "none.pth"])
    with pytest.raises(SystemExit, match=r"error: Config file none.py does not exist"):
        main(["verify", "none.py"])
