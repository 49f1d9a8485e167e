"""What is run, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.study.results import FIRST_SEED, Store, chooser_of
from tools.study.rows import ROWS, TASKS, Row
from tools.study.trials import RATES, Trial


@dataclass(frozen=True)
class Job:
    """A trial to come; ``rate`` None is the one that its family will have chosen."""

    row: Row
    seed: int
    rate: float | None = None

    def __str__(self) -> str:
        rate = "the family's rate" if self.rate is None else f"lr {self.rate:g}"
        return f"{self.row.key}, seed {self.seed}, {rate}"

    def trial(self, store: Store) -> Trial | None:
        """The trial; None while its family's rate is not chosen."""
        rate = store.chosen_rate(self.row) if self.rate is None else self.rate
        return None if rate is None else Trial(self.row, self.seed, rate)


def plan(rows: Sequence[Row], seeds: Sequence[int]) -> list[Job]:
    """All jobs of rows and seeds: of each task first the rates, then its rows with the first seed.

    The other seeds follow, one after another over all tasks, so that a study that is stopped has
    the same seeds of all rows.
    """
    jobs: list[Job] = []
    for task in TASKS:
        own = [row for row in rows if row.task == task]
        jobs += [Job(row, FIRST_SEED, rate) for row in _choosers(own) for rate in RATES]
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
