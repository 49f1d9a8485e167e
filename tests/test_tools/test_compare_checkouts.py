from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT, load_tool

tool = load_tool("analysis_tools/compare_checkouts.py")


def test_what_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tool.parse_args([str(tmp_path)])
    assert "is no checkout of this repository" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.parse_args([str(ROOT), "--rounds", "0"])
    assert "--rounds 0 must be at least 1" in capsys.readouterr().err


def test_checkouts_run_in_turns_and_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    seconds = iter((4.0, 2.0, 3.0, 5.0))

    def run(checkout: Path, case: str, _: object) -> dict[str, float]:
        runs.append(checkout)
        return {"seconds_per_step": next(seconds), "peak_gib": 2.0}

    other = ROOT / "tests"
    monkeypatch.setattr(tool, "run", run)
    args = tool.parse_args([str(ROOT)])
    args.other = other
    row = tool.compare("vqa", args)
    assert runs == [other, tool.HERE, tool.HERE, other]
    assert (row["seconds_before"], row["seconds_now"]) == (4.0, 2.0)
    assert "| vqa | 2.00 | 1.00 | 4.00 | 2.00 | 2.00 | 2.00 |" in tool.as_table([row])


@pytest.mark.deep
def test_a_training_case_runs_in_a_checkout() -> None:
    args = tool.parse_args([str(ROOT), "--steps", "1", "--threads", "1"])
    assert tool.run(ROOT, "image", args)["seconds_per_step"] > 0
