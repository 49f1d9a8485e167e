"""Write the list of candidate answers of a VQA data set, from its training answers.

Reads MSRVTT-QA's train_qa.json, official annotations of VQAv2, BLIP's vqa_train.json and this
package's JSON-lines files of questions; several files are counted together. The most frequent
answers come first; those that the tokenizer makes the same of (yes and Yes, t-shirt and t - shirt)
are counted together and stand under their most frequent spelling. Of a question with several
annotators the answer most of them gave counts (VQAv2 names it itself); BLIP's 3,128 answers of
VQAv2 are not rebuilt by this, bring its file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from uniadapter.datasets.readers import read_json, read_json_lines, require_file, require_texts
from uniadapter.utils.answer_list import count_answers, rank_answers_by_count
from uniadapter.utils.arguments import natural
from uniadapter.utils.errors import one_message
from uniadapter.utils.json_files import json_text
from uniadapter.utils.safe_io import atomic_write
from uniadapter.utils.words import words_of


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ann_files", nargs="+", help="training annotations")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--top", type=natural, help="keep this many (default: all)")
    parser.add_argument(
        "--min-count", type=natural, default=1, help="keep answers given this often"
    )
    return parser.parse_args(argv)


def entries_of(path: str) -> Iterator[tuple[str, Any]]:
    """Yield (file and position, entry) of every annotated question in a file."""
    require_file(path, "ann_files")
    if path.endswith(".jsonl"):
        for line, entry in read_json_lines(path):
            yield f"{path}: line {line}", entry
        return
    content = read_json(path)
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise ValueError(f"{path}: a list of questions, or an object with 'annotations', is needed")
    for index, entry in enumerate(entries):
        yield f"{path}: entry {index}", entry


def answer_of(entry: Any, where: str) -> str:
    """The answer of a question: the one most annotators gave."""
    known = ("multiple_choice_answer", "answer", "answers")
    keys = [key for key in known if isinstance(entry, dict) and key in entry]
    if not keys:
        raise ValueError(f"{where}: one of the keys {known} is needed.")
    counts = count_answers(require_texts(entry, keys[0], where))
    return max(counts, key=lambda answer: counts[answer], default="")


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Count and write."""
    args = parse_args(argv)
    try:
        answers = [answer_of(e, where) for path in args.ann_files for where, e in entries_of(path)]
        kept = rank_answers_by_count(answers, args.top, args.min_count)
        atomic_write(args.out, (json_text(kept) + "\n").encode())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    chosen = {words_of(answer) for answer in kept}
    covered = sum(words_of(answer) in chosen for answer in answers)
    print(
        f"{args.out}: {len(kept)} of {len(set(map(words_of, answers)))} answers, those of "
        f"{covered / len(answers):.2%} of {len(answers)} questions"
    )


if __name__ == "__main__":
    main()
