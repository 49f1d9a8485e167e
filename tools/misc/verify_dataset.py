"""Check the annotations of a config's datasets and open every medium they name.

Every medium is opened and decoded at its first, middle and last frame (``--frames all`` decodes
it whole), so that a missing, empty, truncated or undecodable file is found before a training run
meets it. Where datasets have features in place of media, all of them are read. Exit status: 0 when
all is well, 1 when something was found.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmengine.registry import init_default_scope

from uniadapter.datasets import BaseMediaDataset, MediaError
from uniadapter.datasets.feature_stores import FeatureStore
from uniadapter.datasets.feature_tasks import BaseFeatureDataset
from uniadapter.datasets.transforms import LoadVideo, open_media
from uniadapter.registry import DATASETS, scope_of
from uniadapter.utils.arguments import processes
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import dataset_config, load_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.processes import Died, map_in_processes
from uniadapter.utils.safe_io import atomic_write

SPLITS = ("train", "val", "test")
# Names of features that a process checks at once: it is sent the store, which may hold an index.
CHUNK = 500


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="path of the config")
    parser.add_argument("--split", choices=SPLITS, help="check one split (default: all there are)")
    parser.add_argument("--frames", choices=("ends", "all"), default="ends", help="what to decode")
    parser.add_argument("--workers", type=processes, default=2, help="processes that decode")
    parser.add_argument("--out", help="write the report to this JSON file")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def check_medium(path: str, backend: str, frames: str) -> dict[str, str] | None:
    """Decode a medium; return its path, the kind of fault and the reason, or None if it is fine."""
    try:
        reader = open_media(path, backend)
        length = len(reader)
        numbers = range(length) if frames == "all" else sorted({0, length // 2, length - 1})
        # In small groups: a long video does not fit in memory as a whole.
        for start in range(0, len(numbers), 16):
            reader.get_frames(list(numbers[start : start + 16]))
    except MediaError as error:
        return {"path": path, "kind": error.kind, "reason": str(error)}
    return None


def check_features(store: FeatureStore, names: list[str]) -> list[dict[str, str]]:
    """Read features; return what is wrong, as :func:`check_medium` does."""
    faults = []
    for name in names:
        try:
            store.read(name)
        except (OSError, ValueError) as error:
            faults.append({"path": store.place(name), "kind": "features", "reason": str(error)})
    return faults


def leaf_datasets(dataset: Any) -> list[Any]:
    """Return the datasets inside wrappers such as ConcatDataset, RepeatDataset and JointDataset."""
    if hasattr(dataset, "datasets"):
        parts = dataset.datasets
        inside = parts.values() if isinstance(parts, Mapping) else parts
        return [leaf for inner in inside for leaf in leaf_datasets(inner)]
    if hasattr(dataset, "dataset"):
        return leaf_datasets(dataset.dataset)
    return [dataset]


def media_of(config: dict) -> tuple[dict[Any, list[str]], dict[str, int], str | None]:
    """Build a dataset; return its media, its counts and what is wrong with it.

    An error in the annotations ends the check of this dataset, as nothing after it can be trusted.

    Returns:
        Paths by their backend, and names by their store of features; counts; and the error.
    """
    media: dict[Any, list[str]] = {}
    counts = {"items": 0, "media": 0}
    try:
        built = DATASETS.build(config)
        for dataset in leaf_datasets(built):
            source: Any = "auto"
            if isinstance(dataset, BaseFeatureDataset):
                source, found = dataset.store, dataset.names()
            elif isinstance(dataset, BaseMediaDataset):
                steps = dataset.pipeline.transforms
                loaders = [step for step in steps if isinstance(step, LoadVideo)]
                source = loaders[0].backend if loaders else "auto"
                found = [medium["media_path"] for medium in dataset.media()]
            else:
                return media, counts, f"{type(dataset).__name__} has no media to check"
            media[source] = list(dict.fromkeys([*media.get(source, ()), *found]))
            counts["items"] += len(dataset)
            counts["media"] += len(found)
    except (OSError, ValueError) as error:
        return media, counts, str(error)
    return media, counts, None


def verify_split(name: str, config: dict, args: argparse.Namespace) -> dict[str, Any]:
    """Check one split and return its part of the report."""
    media, counts, problem = media_of(config)
    report: dict[str, Any] = {**counts, "annotations": problem, "faults": []}
    if problem is not None:
        return report
    for source, found in media.items():
        check = features_faults if isinstance(source, FeatureStore) else media_faults
        report["faults"] += check(name, source, found, args)
    return report


def media_faults(
    name: str, backend: str, paths: list[str], args: argparse.Namespace
) -> list[dict[str, str]]:
    """Decode media in processes and return what is wrong with them."""
    tasks = [(path, backend, args.frames) for path in paths]
    results = map_in_processes(check_medium, tasks, args.workers, f"{name}:")
    for index, path in enumerate(paths):
        if isinstance(results[index], Died):
            reason = f"{path}: {results[index].reason}"
            results[index] = {"path": path, "kind": "undecodable", "reason": reason}
    return [result for result in results if result is not None]


def features_faults(
    name: str, store: FeatureStore, names: list[str], args: argparse.Namespace
) -> list[dict[str, str]]:
    """Read features in processes and return what is wrong with them."""
    tasks = [(store, names[start : start + CHUNK]) for start in range(0, len(names), CHUNK)]
    results = map_in_processes(check_features, tasks, args.workers, f"{name}:")
    faults: list[dict[str, str]] = []
    for (_, part), result in zip(tasks, results, strict=True):
        if isinstance(result, Died):
            reason = f"{store.root}: one of {part[0]!r} to {part[-1]!r}: {result.reason}"
            result = [{"path": store.root, "kind": "features", "reason": reason}]
        faults += result
    return faults


def print_report(report: dict[str, dict[str, Any]]) -> None:
    """Print what was found, split by split."""
    for name, part in report.items():
        kinds = Counter(fault["kind"] for fault in part["faults"])
        summary = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        if part["annotations"]:
            print(f"{name}: annotations: {part['annotations']}")
            continue
        print(f"{name}: {part['items']} items, {part['media']} media, {summary or 'all readable'}")
        for fault in part["faults"]:
            print(f"  {fault['kind']:<12} {fault['reason']}")


def datasets_of(args: argparse.Namespace) -> dict[str, dict]:
    """Read the config and return those of the data sets of the wanted splits that it has."""
    config = load_config(args.config, args.cfg_options)
    init_default_scope(scope_of(config))
    wanted = [args.split] if args.split else SPLITS
    found = [name for name in wanted if config.get(f"{name}_dataloader")]
    if not found:
        raise ValueError(f"{args.config}: there is no dataloader for {', '.join(wanted)}.")
    return {name: dataset_config(config, name, args.config) for name in found}


@one_message()
def main(argv: list[str] | None = None) -> int:
    """Verify and return the exit status."""
    args = parse_args(argv)
    try:
        datasets = datasets_of(args)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    report = {name: verify_split(name, dataset, args) for name, dataset in datasets.items()}
    print_report(report)
    if args.out:
        with one_message():
            atomic_write(args.out, (json.dumps(report, indent=2) + "\n").encode())
        print(f"report: {args.out}")
    return int(any(part["annotations"] or part["faults"] for part in report.values()))


if __name__ == "__main__":
    sys.exit(main())
