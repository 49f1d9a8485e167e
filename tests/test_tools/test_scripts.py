"""The shell scripts, with stand-ins for torchrun and srun."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.helpers import ROOT, run

SCRIPTS = sorted((ROOT / "tools").glob("*.sh")) + [ROOT / ".ci/run"]


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A program that prints its arguments, one a line."""
    path = tmp_path / "echo"
    path.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return path


def lines(*command: str, **env: str) -> list[str]:
    done = run("bash", *command, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path):
    done = run("bash", "-n", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["dist_train", "dist_test", "slurm_train", "slurm_test"])
def test_scripts_are_executable_and_say_their_usage(name: str):
    path = ROOT / "tools" / f"{name}.sh"
    assert path.stat().st_mode & stat.S_IXUSR
    done = run("bash", path)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_dist_train_calls_torchrun(echo: Path):
    env = {"NNODES": "2", "NODE_RANK": "1", "PORT": "29511", "MASTER_ADDR": "10.0.0.1"}
    found = lines("tools/dist_train.sh", "cfg.py", "8", "--resume", PYTHON=str(echo), **env)
    assert found == [
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--node-rank=1",
        "--master-addr=10.0.0.1",
        "--master-port=29511",
        "--nproc-per-node=8",
        str(ROOT / "tools/train.py"),
        "cfg.py",
        "--launcher",
        "pytorch",
        "--resume",
    ]


def test_dist_test_calls_torchrun(echo: Path):
    found = lines("tools/dist_test.sh", "cfg.py", "a.pth", "4", "--out", "m.json", PYTHON=str(echo))
    assert "--nproc-per-node=4" in found
    assert found[-7:] == [
        str(ROOT / "tools/test.py"),
        "cfg.py",
        "a.pth",
        "--launcher",
        "pytorch",
        "--out",
        "m.json",
    ]


@pytest.mark.parametrize("processes", ["0", "-1", "two", ""])
def test_a_wrong_number_of_processes_is_refused(processes: str):
    done = run("bash", "tools/dist_train.sh", "cfg.py", processes)
    assert done.returncode == 2
    assert f"must be a positive number, not '{processes}'" in done.stderr


@pytest.mark.parametrize(("gpus", "per_node"), [("16", "8"), ("2", "2")])
def test_slurm_scripts_call_srun(echo: Path, gpus: str, per_node: str):
    echo.rename(echo.with_name("srun"))
    env = {
        "PATH": f"{echo.parent}{os.pathsep}{os.environ['PATH']}",
        "GPUS": gpus,
        "SRUN_ARGS": "--time=1 --mem=2",
        "PYTHON": "py",
    }
    for tool, arguments in (("train", ["cfg.py"]), ("test", ["cfg.py", "a.pth"])):
        found = lines(f"tools/slurm_{tool}.sh", "part", "job", *arguments, "--amp", **env)
        assert found[:2] == ["-p", "part"]
        expected = {f"--ntasks={gpus}", f"--ntasks-per-node={per_node}", f"--gres=gpu:{per_node}"}
        assert expected | {"--job-name=job", "--time=1", "--mem=2"} <= set(found)
        script = str(ROOT / "tools" / f"{tool}.py")
        assert found[found.index("py") :] == [
            "py",
            "-u",
            script,
            *arguments,
            "--amp",
            "--launcher",
            "slurm",
        ]


def copy_repo(folder: Path, *names: str) -> None:
    """The files that setup_venv.sh and run_tests.sh look at."""
    for name in ("setup.py", "requirements/lock.txt", "tools/setup_venv.sh", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())


FAKE_PYTHON = """#!/usr/bin/env bash
echo "python $*" >>"$LOG"
case "$*" in
    "-m venv "*)
        mkdir -p "$3/bin"
        cp "$0" "$3/bin/python"
        for tool in ruff mypy; do
            printf '#!/usr/bin/env bash\\necho "%s $*" >>"$LOG"\\n' "$tool" >"$3/bin/$tool"
        done
        chmod +x "$3"/bin/*
        ;;
    "-m pytest"*)
        echo "3 passed"
        exit "${PYTEST_EXIT:-0}"
        ;;
esac
"""


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A repository without .venv, and a Python that only writes down what it is asked."""
    copy_repo(tmp_path / "repo", "tools/run_tests.sh", ".ci/run")
    python = tmp_path / "bin/fake-python"
    python.parent.mkdir()
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return tmp_path / "repo", {"PYTHON": str(python), "LOG": str(tmp_path / "log")}


def test_the_environment_is_made_once_and_again_after_a_change(fresh):
    repo, env = fresh
    script, log = repo / "tools/setup_venv.sh", Path(env["LOG"])
    assert lines(script, **env)[0].startswith("Making .venv")
    calls = log.read_text().splitlines()
    installs = [call for call in calls if "pip install" in call]
    assert len(installs) == 2
    assert installs[0].endswith(f"-r {repo}/requirements/lock.txt")
    assert installs[1].endswith(f"--no-deps -e {repo}")
    assert lines(script, **env) == []
    assert log.read_text().splitlines() == calls
    with open(repo / "requirements/lock.txt", "a") as file:
        file.write("one-more==1\n")
    assert "Making .venv" not in "".join(lines(script, **env))
    assert log.read_text().count("pip install") == 4


def test_no_python_is_an_error(fresh):
    repo, env = fresh
    done = run("bash", repo / "tools/setup_venv.sh", **{**env, "PYTHON": "no-such-python"})
    assert done.returncode == 1
    assert "no Python 3.11 or newer was found; set PYTHON" in done.stderr


@pytest.mark.parametrize("status", [0, 1, 5])
def test_checks_come_before_pytest_and_its_status_is_the_result(fresh, status: int):
    repo, env = fresh
    done = run("bash", repo / ".ci/run", **env, PYTEST_EXIT=str(status))
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == "3 passed"
    calls = Path(env["LOG"]).read_text().splitlines()
    assert calls[-4] == "ruff check ."
    assert calls[-3] == "ruff format --check ."
    assert calls[-2].strip() == "mypy"
    assert calls[-1].startswith("python -m pytest")


def test_arguments_reach_pytest(fresh):
    repo, env = fresh
    lines(repo / "tools/run_tests.sh", "-k", "name", **env)
    assert Path(env["LOG"]).read_text().splitlines()[-1].endswith("-k name")


def test_pins_are_exact_and_hold_the_torch_pair():
    pins = (ROOT / "requirements/lock.txt").read_text().splitlines()
    pins = [line for line in pins if not line.startswith("#")]
    assert all("==" in line for line in pins)
    assert {"torch==2.14.1", "torchvision==0.29.1", "mmengine==0.10.7"} <= set(pins)
