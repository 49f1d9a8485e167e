"""What is searched for is what the test loop measures; the commands do it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.helpers import COLORS, ROOT, SHAPES
from tests.inference_helpers import clips_dataset, clips_model, scores_of_the_loop
from tests.search_helpers import RATE, write_frames, write_picture
from uniadapter.cli.main import main
from uniadapter.retrieval import RetrievalOptions
from uniadapter.search.engine import TorchEngine
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import update_index

NAMES = [f"{color}_{shape}" for color in COLORS for shape in SHAPES]
CONFIG = str(ROOT / "configs/tiny/msrvtt_zero_shot.py")
WEIGHTS = str(ROOT / "configs/pretrain/blip_tiny.safetensors")


@pytest.mark.parametrize("k_test", [0, 5])
def test_recall_is_that_of_the_test_loop(tiny_world: Path, tmp_path: Path, k_test: int):
    shutil.copytree(tiny_world / "clips", tmp_path / "clips")
    shutil.copy(tiny_world / "vocab.txt", tmp_path)
    model = clips_model(tmp_path)
    captions = {name: f"a {name.replace('_', ' ')} moves" for name in NAMES}
    dataset = clips_dataset(tmp_path, model, {name: [text] for name, text in captions.items()})
    weight = 0.5
    loop, _ = scores_of_the_loop(model, dataset, k_test=k_test, itc_weight=weight)
    engine = TorchEngine(model, RetrievalOptions(k_test=k_test, itc_weight=weight))
    place = tmp_path / "index"
    # One shot a clip, so that it is what the loop sees of it.
    reading = ReadOptions(shot_seconds=1000.0, frame_rate=RATE)
    index = SearchIndex.create(place, engine, reading, tmp_path / "clips")
    summary = update_index(index, engine)
    assert (summary.files, summary.shots) == (len(NAMES), len(NAMES))
    searcher = Searcher(index, engine)
    right = 0
    for row, (name, text) in enumerate(captions.items()):
        found = searcher.search(text, topk=len(NAMES), shortlist=k_test)
        scores = torch.tensor([hit.score for hit in found.hits])
        places = [NAMES.index(hit.path) for hit in found.hits]
        assert len(places) == (k_test or len(NAMES))
        # The tokens are rounded to half precision.
        torch.testing.assert_close(scores, loop[row, places], rtol=2e-3, atol=2e-3)
        assert torch.equal(scores, scores.sort(descending=True).values)
        right += found.hits[0].path == name
    assert right == int((loop.argmax(1) == torch.arange(len(NAMES))).sum())


def test_the_commands(tmp_path: Path, capsys):
    media = tmp_path / "media"
    for number in range(3):
        write_picture(media / f"p{number}.png", number)
    write_frames(media / "clips" / "long", 1, 11)
    options = ["--frames", "2", "--shot-seconds", "2", "--workers", "0", "--device", "cpu"]
    with pytest.raises(SystemExit, match="needs a model"):
        main(["index", str(media)])
    named = ["--model", CONFIG, "--checkpoint", WEIGHTS]
    assert main(["index", str(media), *named, *options]) == 0
    printed = capsys.readouterr().out
    assert "4 new" in printed
    assert "6 shots were encoded" in printed
    (media / "p0.png").rename(media / "q0.png")
    assert main(["index", str(media)]) == 0
    printed = capsys.readouterr().out
    assert "1 moved" in printed
    assert "nothing was encoded" in printed
    searched = ["search", "a red circle", "--index", str(media)]
    assert main([*searched, "--topk", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "score", "similarity", "shot", "best", "moment", "path"]
    assert len(lines) == 4
    assert lines[3].startswith("6 shots searched, 6 re-ranked by matching (encode")
    image = ["search", "--image", str(media / "p1.png"), "--index", str(media), "--json"]
    assert main(image) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hits"][0]["path"] == "p1.png"
    assert set(found) == {"hits", "searched", "seconds", "reranked"}
    assert main([*searched, "--folder", "nowhere"]) == 1
    for wrong, message in [
        (["index", str(media), "--shot-seconds", "3"], "--rebuild"),
        (["index", str(media), "--no-tokens"], "how the model runs"),
        (["index", str(media), "--checkpoint", WEIGHTS], "give --model"),
        (["index", str(tmp_path), "--index", str(media)], "is of the folder"),
        (["index", str(tmp_path / "none")], "does not exist"),
        (["search", "a", "--index", str(tmp_path)], "uniadapter index"),
        (["search", "--index", str(media)], "one text"),
    ]:
        with pytest.raises(SystemExit, match=message):
            main(wrong)
    assert main(["index", str(media), "--no-tokens", "--rebuild", "--workers", "0"]) == 0
    capsys.readouterr()
    assert main([*searched, "--per-file"]) == 0
    printed = capsys.readouterr().out
    assert "by similarity alone" in printed
    assert printed.count("clips/long") == 1
