"""Whether more or less of a measure is better, where `save_best` names it without a `rule`."""

from __future__ import annotations

from collections.abc import Iterable

#: Measures by their whole names, which may be parts of others: of average_loss less is better.
_RULES = {
    **dict.fromkeys(("average", "consistency", "score", "meteor", "rouge_l", "spice"), "greater"),
    **dict.fromkeys(("f1", "matthews", "pearson", "spearman"), "greater"),
    "unreadable": "less",
}
# Behind these stands a kind of questions, whose accuracy it is.
_ACCURACIES = ("answer_type", "question_type")


def rule_of(measure: str, words: Iterable[str]) -> str | None:
    """The rule of a measure that MMEngine has none for.

    Args:
        measure: Its name, with or without those of the task and the like in front.
        words: Parts of names by which MMEngine tells the rule.

    Returns:
        ``'greater'``, ``'less'``, or None: MMEngine has one, or nobody knows.
    """
    name = measure.lower()
    if any(word.lower() in name for word in words):
        return None
    *above, last = name.split("/")
    return "greater" if above and above[-1] in _ACCURACIES else _RULES.get(last)
