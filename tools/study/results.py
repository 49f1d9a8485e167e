"""Result files, one a trial: whole or absent, valid for one config and one state of the data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.study.rows import Row, chooser_of
from tools.study.trials import BUDGETS, RATES, Setting, Trial, config_of, fingerprints
from uniadapter.utils.json_files import parse_json
from uniadapter.utils.safe_io import atomic_write

#: The seed on which learning rates are chosen.
FIRST_SEED = 0


@dataclass
class Store:
    """The results of a folder.

    Attributes:
        folder: Where they are.
        setting: What they have to be of, to be valid.
    """

    folder: Path
    setting: Setting

    def __post_init__(self) -> None:
        self._prints: dict[Trial, dict[str, str]] = {}

    def fingerprints(self, trial: Trial) -> dict[str, str]:
        """What a result of a trial is bound to."""
        if trial not in self._prints:
            cfg = config_of(trial, self.setting)
            self._prints[trial] = fingerprints(cfg, trial.row.task, self.setting)
        return self._prints[trial]

    def read(self, trial: Trial) -> dict[str, Any] | None:
        """The valid result of a trial, or None.

        Raises:
            ValueError: If its file is no result.
        """
        path = trial.file(self.folder)
        if not path.is_file():
            return None
        result = read_file(path)
        return result if result["fingerprints"] == self.fingerprints(trial) else None

    def write(self, trial: Trial, measured: dict[str, Any]) -> None:
        """Write what a trial measured, with all that says which trial it was."""
        result = {
            "row": trial.row.key,
            "seed": trial.seed,
            "rate": trial.rate,
            "steps": trial.steps,
            **measured,
            "fingerprints": self.fingerprints(trial),
        }
        text = json.dumps(result, indent=1) + "\n"
        atomic_write(trial.file(self.folder), text.encode())

    def rate_results(self, row: Row) -> dict[float, dict[str, Any]]:
        """Results of the trials that choose the rate of a row's family, by rate."""
        first = self.setting.lengths(row.task)[0]
        trials = {rate: Trial(chooser_of(row), FIRST_SEED, rate, first) for rate in RATES}
        found = {rate: self.read(trial) for rate, trial in trials.items()}
        return {rate: result for rate, result in found.items() if result is not None}

    def chosen_rate(self, row: Row) -> float | None:
        """The rate of a row's family: the best on the held-out split; None until all are tried.

        Ties go to the lower rate; a training that diverged loses against any other.
        """
        results = self.rate_results(row)
        if len(results) < len(RATES):
            return None
        return max(RATES, key=lambda rate: (score(results[rate], row.task), -rate))

    def chosen(self, row: Row) -> tuple[float, int] | None:
        """The rate and the steps of a row's family; None until all are tried.

        Further lengths are tried with the rate that is best for the first one. Ties go to the
        shorter training.
        """
        rate, lengths = self.chosen_rate(row), self.setting.lengths(row.task)
        if rate is None or len(lengths) == 1:
            return None if rate is None else (rate, lengths[0])
        results = self.length_results(row, rate)
        if len(results) < len(lengths):
            return None
        return rate, max(lengths, key=lambda steps: (score(results[steps], row.task), -steps))

    def length_results(self, row: Row, rate: float) -> dict[int, dict[str, Any]]:
        """Results of the trials that choose the steps of a row's family, by steps."""
        lengths = self.setting.lengths(row.task)
        trials = {steps: Trial(chooser_of(row), FIRST_SEED, rate, steps) for steps in lengths}
        found = {steps: self.read(trial) for steps, trial in trials.items()}
        return {steps: result for steps, result in found.items() if result is not None}

    def of_row(self, row: Row, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Results of a row at its family's rate and length, by seed."""
        chosen = self.chosen(row)
        if chosen is None:
            return {}
        found = {seed: self.read(Trial(row, seed, *chosen)) for seed in seeds}
        return {seed: result for seed, result in found.items() if result is not None}


def read_file(path: Path) -> dict[str, Any]:
    """A result file.

    Raises:
        ValueError: If it is none; the message names it.
    """
    try:
        result = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no result of the study ({error}): delete it.") from error
    whole = isinstance(result, dict) and {"row", "seed", "rate", "fingerprints"} <= set(result)
    if not whole or ("test" not in result and "diverged" not in result):
        raise ValueError(f"{path} is no result of the study, or not whole: delete it.")
    return result


def score(result: dict[str, Any], task: str) -> float:
    """The task's measure on the held-out split; minus infinity where the training diverged."""
    return result["val"][BUDGETS[task].measure] if "val" in result else float("-inf")
