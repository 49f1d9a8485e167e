"""What is run, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.study.results import FIRST_SEED, Store
from tools.study.rows import ROWS, TASKS, Row, chooser_of
from tools.study.trials import RATES, Setting, Trial


@dataclass(frozen=True)
class Job:
    """A trial to come; a rate or steps of None are those that its family will have chosen."""

    row: Row
    seed: int
    rate: float | None = None
    steps: int | None = None

    def __str__(self) -> str:
        rate = "the family's rate" if self.rate is None else f"lr {self.rate:g}"
        steps = "" if self.steps is None else f", {self.steps} steps"
        return f"{self.row.key}, seed {self.seed}, {rate}{steps}"

    @property
    def chooses(self) -> bool:
        """Whether it is run to choose its family's rate or length."""
        return self.rate is not None or self.steps is not None

    def trial(self, store: Store) -> Trial | None:
        """The trial; None while what it needs of its family is not chosen."""
        if self.steps is None:
            chosen = store.chosen(self.row)
            return None if chosen is None else Trial(self.row, self.seed, *chosen)
        rate = store.chosen_rate(self.row) if self.rate is None else self.rate
        return None if rate is None else Trial(self.row, self.seed, rate, self.steps)


def plan(rows: Sequence[Row], seeds: Sequence[int], setting: Setting) -> list[Job]:
    """All jobs of rows and seeds: of each task first the rates, then its rows with the first seed.

    The other seeds follow, one after another over all tasks, so that a study that is stopped has
    the same seeds of all rows.
    """
    jobs: list[Job] = []
    for task in TASKS:
        own = [row for row in rows if row.task == task]
        first, *further = setting.lengths(task)
        jobs += [Job(row, FIRST_SEED, rate, first) for row in _choosers(own) for rate in RATES]
        jobs += [Job(row, FIRST_SEED, None, n) for row in _choosers(own) for n in further]
        if FIRST_SEED in seeds:
            jobs += [Job(row, FIRST_SEED) for row in own]
    rest = [seed for seed in seeds if seed != FIRST_SEED]
    return jobs + [Job(row, seed) for seed in rest for row in _in_order(rows)]


def _in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=ROWS.index)


def _choosers(rows: Sequence[Row]) -> list[Row]:
    """The rows that choose rates for these rows, once each, in the order of the study."""
    return _in_order(list({chooser_of(row) for row in rows}))


def share(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """Part ``index`` of ``count`` (from 0): every count-th job.

    Raises:
        ValueError: If there is no such part.
    """
    if not 0 <= index < count:
        raise ValueError(f"--shard {index}/{count}: parts are numbered from 0 to {count - 1}.")
    return list(jobs[index::count])
