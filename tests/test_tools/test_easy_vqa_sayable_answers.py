"""What a frozen head can say: words of pre-training and no others."""

from __future__ import annotations

import pytest

from tests.helpers import ROOT
from tools.analysis_tools import sayable_answers
from tools.analysis_tools.sayable_answers import main, sayable

CONFIG = str(ROOT / "configs/easy_vqa/r64.py")


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # What a word keeps is far from another's long before the last digits settle.
    monkeypatch.setattr(sayable_answers, "_STEPS", 250)


def test_words_of_pretraining_are_sayable_and_others_are_not() -> None:
    found = dict(sayable(CONFIG, ["red", "circle", "yes", "red circle"]))
    assert [token for token, _ in found["red circle"]] == ["red", "circle"]
    assert found["red circle"] == [*found["red"], *found["circle"]]
    assert found["red"][0][1] < 0.05
    assert found["circle"][0][1] < 0.5
    assert found["yes"][0][1] > 3


def test_the_list_of_the_config_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main([CONFIG, "--cfg-options", "model.answer_list=['green','teal']"])
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ["green", "teal"]
    assert float(lines[0].split()[1]) < 0.05 < 3 < float(lines[1].split()[1])


def test_a_model_without_answers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="must be a VQAModel"):
        main([str(ROOT / "configs/tiny/msrvtt_r32.py")])
    with pytest.raises(SystemExit, match="--answers"):
        main([CONFIG, "--cfg-options", "model.answer_list=None"])
