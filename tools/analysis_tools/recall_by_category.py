"""Break text-to-video recall down by the categories of MSR-VTT's annotation.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_cfg.dump=ranking.json
    python tools/analysis_tools/recall_by_category.py ranking.json MSRVTT_data.json

MSRVTT_data.json gives every video a number as its ``category``: a topic in MSR-VTT, the kind of
video (0 event, 1 motion, 2 order) in the embedded data.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from typing import Any

from uniadapter.apis.pictures import read_ranking
from uniadapter.datasets.readers import read_json, require_file, require_text
from uniadapter.utils.errors import one_message

#: A dumped ranking holds the best ten media of a query.
DEPTHS = (1, 5, 10)


def read_videos(path: str) -> list[dict[str, Any]]:
    """The videos of MSRVTT_data.json.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it lists none, or one lacks its name or its category.
    """
    content = read_json(require_file(path, "annotation"))
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, list):
        raise ValueError(f"{path}: a list under the key 'videos' is expected.")
    for index, entry in enumerate(videos):
        where = f"{path}: videos[{index}]"
        require_text(entry, "video_id", where)
        if type(entry.get("category")) is not int:
            raise ValueError(f"{where}: 'category' must be a whole number.")
    return videos


def recall_by_category(
    ranking: dict[str, Any], videos: list[dict[str, Any]]
) -> dict[int, tuple[int, dict[int, float]]]:
    """Number of queries and recall in percent of every category, ``-1`` for all together.

    Args:
        ranking: What ``test_cfg.dump`` has written.
        videos: The entries under ``videos`` of MSRVTT_data.json.

    Raises:
        ValueError: When a video of the ranking has no entry.
    """
    category = {entry["video_id"]: entry["category"] for entry in videos}
    ranks: dict[int, list[int]] = defaultdict(list)
    for right, top in zip(ranking["positives"], ranking["top"], strict=True):
        name = ranking["media"][right]["id"]
        if name not in category:
            raise ValueError(f"{name!r} of the ranking is not in its list of videos.")
        found = [medium for medium, _ in top]
        rank = found.index(right) + 1 if right in found else len(found) + max(DEPTHS)
        ranks[category[name]].append(rank)
        ranks[-1].append(rank)
    return {
        key: (len(own), {k: 100 * sum(rank <= k for rank in own) / len(own) for k in DEPTHS})
        for key, own in sorted(ranks.items())
    }


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Text-to-video recall by category.")
    parser.add_argument("ranking", help="file that test_cfg.dump has written")
    parser.add_argument("annotation", help="MSRVTT_data.json")
    args = parser.parse_args(argv)
    try:
        ranking, videos = read_ranking(args.ranking), read_videos(args.annotation)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")
    try:
        rows = recall_by_category(ranking, videos)
    except ValueError as error:
        sys.exit(f"error: {args.annotation}: {error} Is it the one that {args.ranking} is of?")
    print("| category | queries | " + " | ".join(f"R@{k}" for k in DEPTHS) + " |")
    print("| --- " * (2 + len(DEPTHS)) + "|")
    for key, (count, recalls) in rows.items():
        name = "all" if key == -1 else str(key)
        print(f"| {name} | {count} | " + " | ".join(f"{r:.1f}" for r in recalls.values()) + " |")


if __name__ == "__main__":
    main()
