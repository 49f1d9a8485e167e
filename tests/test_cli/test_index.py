"""`uniadapter index` by its command line: features of two models are never in one index."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.search_helpers import StubEngine, content_of, write_picture
from uniadapter.cli.commands import index as command
from uniadapter.search.index import SearchIndex

CALLS = st.fixed_dictionaries(
    {"weights": st.sampled_from(["one", "other"]), "place": st.sampled_from(["a", "b"])},
    optional={
        "--no-tokens": st.just(None),
        "--shot-seconds": st.sampled_from(["10", "3"]),
        "--frames": st.just("2"),
    },
)


@given(st.lists(CALLS, min_size=1, max_size=5))
@settings(max_examples=draws(3), deadline=None)
def test_what_an_index_was_made_with_it_keeps(
    tmp_path_factory: pytest.TempPathFactory, calls: list[dict[str, Any]]
) -> None:
    """Another model or other shots are one error, and the index is as it was, to the byte."""
    root = tmp_path_factory.mktemp("index") / "media"
    write_picture(root / "0.png", 0)
    engines: list[StubEngine] = []

    def engine_of(source: dict[str, Any], device: str | None) -> StubEngine:
        # Another file of the same weights is the same model.
        engines.append(StubEngine(source["tokens"], source["model"].partition("/")[0]))
        return engines[-1]

    def run(*more: str) -> int:
        return command.main([str(root), "--workers", "0", *more])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "engine_of", engine_of)
        assert run("--model", "one/a") == 0
        database = root / ".uniadapter/index.sqlite"
        for number, call in enumerate(calls, 1):
            options = [f"--model={call['weights']}/{call['place']}"]
            options += [
                name if value is None else f"{name}={value}"
                for name, value in call.items()
                if name.startswith("--")
            ]
            write_picture(root / f"{number}.png", number)
            before, known = database.read_bytes(), content_of(SearchIndex.open(root))
            same = call["weights"] == "one" and "--no-tokens" not in call
            if same and call.get("--shot-seconds") != "3" and "--frames" not in call:
                assert run(*options) == 0
                assert engines[-1].encoded >= 1
                assert SearchIndex.open(root).settings.source["model"] == f"one/{call['place']}"
                assert known.items() <= content_of(SearchIndex.open(root)).items()
                # What it remembers is all that the next call needs.
                assert run() == 0
                assert engines[-1].encoded == 0
            else:
                with pytest.raises(SystemExit, match="--rebuild") as refused:
                    run(*options)
                wrong = {
                    "the backbone's weights": call["weights"] != "one",
                    "how the model runs": "--no-tokens" in call,
                    "--shot-seconds (10.0 there, 3.0 now)": call.get("--shot-seconds") == "3",
                    "--frames (None there, 2.0 now)": "--frames" in call,
                }
                # The model's difference is said first, for shots of another model don't matter.
                model = not same
                said = [name for name, differs in wrong.items() if differs]
                expected = [name for name in said if name.startswith("--") != model]
                assert all(name in str(refused.value) for name in expected)
                assert database.read_bytes() == before
                assert content_of(SearchIndex.open(root)) == known
        assert run("--model", "other/a", "--rebuild") == 0
        assert SearchIndex.open(root).settings.binding["backbone"] == "other"
        assert len(SearchIndex.open(root).files()) == len(calls) + 1
