"""Record what pycocoevalcap's Java tokenizer makes of the captions in ``reference/``.

Run by hand where Java is installed, after changing the captions:
``python -m tests.test_evaluation.record_java_reference``. The tests only read what it wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from uniadapter.evaluation.functional import score_captions

DATA = Path(__file__).parent / "reference"
TOKENS = DATA / "java_caption_tokens.json"
SCORES = DATA / "java_caption_scores.json"


def dump(path: Path, head: dict[str, Any], rows: list[Any]) -> None:
    """Write a JSON file with one row a line."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = json.dumps(head, ensure_ascii=False, indent=1)[:-2]
    path.write_text(f'{text},\n "rows": [\n' + ",\n".join(lines) + "\n ]\n}\n", encoding="utf-8")


def main() -> None:
    """Tokenize and score again, and rewrite both files."""
    how = "pycocoevalcap 1.2, by python -m tests.test_evaluation.record_java_reference"
    content = json.loads(TOKENS.read_text(encoding="utf-8"))
    captions = [row[0] for row in content["rows"]]
    tokens = PTBTokenizer().tokenize({0: [{"caption": text} for text in captions]})[0]
    dump(TOKENS, {"how": how}, [list(pair) for pair in zip(captions, tokens, strict=True)])

    content = json.loads(SCORES.read_text(encoding="utf-8"))
    references = {row["image_id"]: row["references"] for row in content["rows"]}
    predictions = {row["image_id"]: row["prediction"] for row in content["rows"]}
    scores = score_captions(references, predictions, tokenizer="java")
    dump(SCORES, {"how": how, "scores": scores}, content["rows"])


if __name__ == "__main__":
    main()
