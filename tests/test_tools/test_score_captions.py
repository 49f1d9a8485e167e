from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers import ROOT

TOOL = ROOT / "tools" / "analysis_tools" / "score_captions.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("score_captions", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    texts = ["A red cat.", "two dogs run", "a bus"]
    truth = dict(annotations=[dict(image_id=i, caption=text) for i, text in enumerate(texts)])
    results = [dict(image_id=0, caption="a red cat"), dict(image_id=1, caption="Two dogs run!")]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    return str(tmp_path / "truth.json"), str(tmp_path / "results.json")


def test_table(tool: ModuleType, files: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    tool.main(list(files))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 3 images"
    table = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert table["score"] == "python"
    assert table["Bleu_1"] == table["ROUGE_L"] == "100.000"
    assert {"Bleu_4", "CIDEr"} < set(table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "no JSON list of image_id and caption"),
        ('[{"image_id": 0}]', "no JSON list of image_id and caption"),
        ('[{"image_id": 0, "caption": "a"}, {"image_id": 0, "caption": "b"}]', "several captions"),
        ('[{"image_id": 9, "caption": "a"}]', "has no captions of image 9"),
        (None, "results.json does not exist"),
    ],
)
def test_bad_results(
    tool: ModuleType, files: tuple[str, str], content: str | None, message: str
) -> None:
    path = Path(files[1])
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(SystemExit, match=message):
        tool.main(list(files))
