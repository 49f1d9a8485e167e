"""The rows, and every run of them on one collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from uniadapter.checkpoints import read_state_dict
from uniadapter.datasets.readers import read_json
from uniadapter.models import build_model
from uniadapter.utils.safe_io import atomic_write

from .frozen import Frozen, load_or_run
from .pictures import Collection
from .scores import Space, measures, named_pictures, ridge
from .training import Recipe, train

ROOT = Path(__file__).resolve().parents[3]
#: Strengths of ridge regression and shares of the class names, chosen on the validation set.
STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0)
SHARES = (0.25, 0.5, 1.0)
_LARGE, _SMALL, _WHOLE = (3e-4, 1e-3, 3e-3), (1e-4, 3e-4, 1e-3), (3e-5, 1e-4, 3e-4)


class Row(NamedTuple):
    """A row that is trained.

    Attributes:
        config (str): Config of its model.
        rates (tuple[float, ...]): Learning rates that are tried.
        lower (int): Frozen layers of the visual tower whose output is kept for it.
        recipe (Recipe): Its steps.
    """

    config: str
    rates: tuple[float, ...]
    lower: int = 11
    recipe: Recipe = Recipe(4, 64, 0.05)


ROWS = {
    "linear_probe": Row("configs/real/stamps_linear_probe.py", _SMALL),
    "unipt": Row("configs/real/stamps_unipt.py", _LARGE),
    "uniadapter": Row("configs/real/stamps_uniadapter.py", _SMALL),
    "houlsby": Row("configs/real/stamps_houlsby.py", _SMALL),
    "lora": Row("configs/real/stamps_lora.py", _SMALL),
    "real_vse": Row("configs/unipt/real_vse.py", _LARGE, 5),
    "full_finetune": Row("configs/real/stamps_full_finetune.py", _WHOLE),
}
CLOSED = ("zero_shot", "ridge", "sum", "names_and_ridge")
_PLAIN, _LOWER = "configs/real/stamps_linear_probe.py", 11
Split = dict[str, list[int]]


class Store:
    """Results of a collection in one file, whole after every run.

    Args:
        path (Path): The file.
        facts (dict): What all of its results depend on.

    Raises:
        ValueError: If the file holds results of other facts.
    """

    def __init__(self, path: Path, facts: dict[str, str]) -> None:
        self.path, self.facts = path, facts
        self.runs()

    def runs(self) -> dict[str, Any]:
        """All results by key; those of a call beside this one are among them."""
        if not self.path.is_file():
            return {}
        content = read_json(str(self.path))
        if content["facts"] != self.facts:
            raise ValueError(
                f"{self.path} holds results of other pictures or weights ({content['facts']}, here "
                f"{self.facts}): name another folder by --results."
            )
        runs: dict[str, Any] = content["runs"]
        return runs

    def get(self, key: str, made: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result, computed and kept where it is not there yet.

        Args:
            key (str): Row, split and learning rate.
            made (str): Digest of what else the run depends on; one of another is run again.
            compute (Callable): Runs it.
        """
        runs = self.runs()
        if runs.get(key, {}).get("made") != made:
            found = {**compute(), "made": made}
            runs = {**self.runs(), key: found}
            content = {"facts": self.facts, "runs": runs}
            text = json.dumps(content, indent=1, sort_keys=True)
            atomic_write(self.path, (text + "\n").encode())
            means = [found[part]["mean"] for part in ("val", "test")]
            print("{} {}: val {:.1f}, test {:.1f}".format(self.path.stem, key, *means), flush=True)
        result: dict[str, Any] = runs[key]
        return result


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def made_of(row: str) -> str:
    """Digest of what the runs of a row depend on beside pictures and weights."""
    if row in CLOSED:
        return _digest([STRENGTHS, SHARES])
    chosen = ROWS[row]
    return _digest([Config.fromfile(str(ROOT / chosen.config)).model.to_dict(), chosen.recipe])


class Study:
    """All rows on one collection.

    Args:
        pictures (Collection): The pictures.
        weights (Path): The joined towers, see ``join_minilm_lite0.py``.
        results (Path): File of the results.
        cache (Path): File of what frozen towers make of the pictures.

    Raises:
        FileNotFoundError: If there are no weights.
        ValueError: If they are other ones, or the results are of others.
    """

    def __init__(self, pictures: Collection, weights: Path, results: Path, cache: Path) -> None:
        self.pictures, self.path, self.cache = pictures, weights, cache
        self.weights = read_state_dict(weights)
        lacking = {"vision_proj.weight", "text_proj.weight"} - set(self.weights)
        if lacking:
            raise ValueError(
                f"{weights} has no {sorted(lacking)}: write it with "
                "tools/model_converters/join_minilm_lite0.py."
            )
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.facts = {"pictures": pictures.sha256, "weights": digest}
        self.store = Store(results, self.facts)
        self._frozen: dict[int, Frozen] = {}
        self._solved: dict[tuple[int, tuple[float, ...]], Space] = {}

    def frozen(self, layers: int) -> Frozen:
        """What the frozen towers make of the pictures."""
        if layers not in self._frozen:
            key = _digest([self.facts, layers, Config.fromfile(str(ROOT / _PLAIN)).model])
            path = self.cache.with_suffix(f".{layers}.pt")
            model = self.model(_PLAIN).eval()
            # One level at a time: each takes tens of megabytes.
            self._frozen = {layers: load_or_run(model, self.pictures, layers, path, key)}
        return self._frozen[layers]

    def model(self, config: str) -> Any:
        """The model of a row with the towers' weights; what is random in it is the same again.

        Raises:
            ValueError: If the weights do not fit the config.
        """
        torch.manual_seed(0)
        options = Config.fromfile(str(ROOT / config)).model.to_dict()
        model = build_model({**options, "pretrained": None})
        own = model.state_dict()
        fitting = {name: t for name, t in self.weights.items() if name in own}
        lacking = [n for n in own if n.startswith(("visual.", "text.")) and n not in fitting]
        if lacking:
            raise ValueError(f"{self.path} has no {lacking[:3]}, which {config} needs.")
        model.load_state_dict(fitting, strict=False)
        return model

    def recognised(self, names: list[str]) -> tuple[int, int]:
        """How many pictures called by a class's name are classified as it, and of how many.

        Args:
            names (list[str]): Names of the classes, with synonyms between commas.
        """
        named = named_pictures(self.pictures.captions, names)
        best = self.frozen(_LOWER).images[0, :, -len(names) :].argmax(-1).tolist()
        return sum(best[index] in classes for index, classes in named.items()), len(named)

    def run(self, row: str, splits: int) -> None:
        """Run a row on the first so many splits, where it was not yet."""
        made = made_of(row)
        if row in CLOSED:
            for number in range(splits):
                self.store.get(f"{row}/{number}", made, lambda n=number: self.solve(row, n))
            return
        chosen = ROWS[row]

        def result(number: int, rate: float) -> dict[str, Any]:
            key = f"{row}/{number}/{rate:g}"
            return self.store.get(key, made, lambda: self.train(row, number, rate))

        validated = {rate: result(0, rate)["val"]["mean"] for rate in chosen.rates}
        best = max(validated, key=lambda rate: validated[rate])
        for number in range(1, splits):
            result(number, best)

    def solve(self, row: str, number: int) -> dict[str, Any]:
        """A row without training on one split."""
        split = self.pictures.splits[number]
        spaces = {
            "zero_shot": lambda: [self.named(1.0)],
            "ridge": lambda: [self.regressed(number, (0.0,))],
            "sum": lambda: [self.named(1.0), self.regressed(number, (0.0,))],
            "names_and_ridge": lambda: [self.regressed(number, SHARES)],
        }[row]()
        found: dict[str, Any] = {"trainable": 0, "cpu_seconds": 0.0}
        for part in ("val", "test"):
            scores = torch.stack([self.scores(space, split[part]) for space in spaces]).sum(0)
            found[part] = measures(scores, [self.pictures.keys[n] for n in split[part]])
        return found

    def scores(self, space: Space, numbers: list[int]) -> torch.Tensor:
        """Cosines of some pictures with their texts."""
        frozen = self.frozen(_LOWER)
        return space.scores(frozen.images[0, numbers], frozen.texts[numbers])

    def named(self, share: float) -> Space:
        """Pictures by the names of their classes, as the weights' own projections have it."""
        visual, text = (self.weights[f"{side}_proj.weight"] for side in ("vision", "text"))
        return Space(share * visual, torch.zeros(len(visual)), text, torch.zeros(len(text)))

    def regressed(self, number: int, shares: tuple[float, ...]) -> Space:
        """Regression of what a share of the class names leaves, as validated best."""
        if (number, shares) not in self._solved:
            self._solved[number, shares] = self._regress(self.pictures.splits[number], shares)
        return self._solved[number, shares]

    def _regress(self, split: Split, shares: tuple[float, ...]) -> Space:
        frozen, train, val = self.frozen(_LOWER), split["train"], split["val"]
        images = torch.cat([side[train] for side in frozen.images])
        texts = frozen.texts[train].repeat(2, 1)
        keys, tried = [self.pictures.keys[n] for n in val], []
        # Behind the features stand the classes, which only their names map.
        features = int((self.named(1.0).visual == 0).all(0).sum())
        for share in shares:
            named = self.named(share)
            known = images @ named.visual.t()
            for strength in STRENGTHS:
                space = ridge(images[:, :features], texts, strength, known)
                matrix = torch.cat((space.visual, named.visual[:, features:]), 1)
                space = space._replace(visual=matrix)
                tried.append((measures(self.scores(space, val), keys)["mean"], space))
        return max(tried, key=lambda pair: pair[0])[1]

    def train(self, row: str, number: int, rate: float) -> dict[str, Any]:
        """A trained row on one split."""
        chosen, split = ROWS[row], self.pictures.splits[number]
        frozen = self.frozen(chosen.lower)
        model = self.model(chosen.config)
        return train(model, self.pictures, frozen, split, chosen.recipe, rate)
