"""Rankings for queries are those of the test loop on the same data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.helpers import COLORS, SHAPES, draws
from tests.inference_helpers import (
    CLIPS,
    OUTSIDE,
    clips_dataset,
    clips_model,
    clips_world,
    same_scores,
    scores_of_the_loop,
)
from uniadapter.apis import encode_text
from uniadapter.apis.inferencers import (
    FeatureExtractor,
    ImageToTextRetrievalInferencer,
    TextToImageRetrievalInferencer,
    TextToVideoRetrievalInferencer,
    VideoToTextRetrievalInferencer,
    prototypes,
)
from uniadapter.datasets import MediaError
from uniadapter.registry import DATASETS


@pytest.fixture(scope="module")
def world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips_world(tiny_world, tmp_path_factory.mktemp("inference"))


@pytest.fixture(scope="module")
def model(world: Path):
    return clips_model(world)


texts = st.lists(st.sampled_from([*COLORS, *SHAPES, "A", "moves!"]), min_size=1, max_size=5)
captions = st.lists(
    st.lists(texts.map(" ".join), min_size=1, max_size=3), min_size=2, max_size=len(CLIPS)
).map(lambda lists: dict(zip(CLIPS[::-1], lists, strict=False)))


@given(captions, st.integers(0, 4), st.sampled_from([0.0, 1.0]), st.integers(1, 5), st.data())
@settings(max_examples=draws(4), deadline=None)
def test_scores_equal_the_test_loop(world, model, found, k_test, weight, batch, data):
    count = sum(map(len, found.values()))
    options = {"k_test": min(k_test, len(found)), "itc_weight": weight}
    dataset = clips_dataset(world, model, found)
    t2v, v2t = scores_of_the_loop(model, dataset, batch, **options)
    sizes = {"prepare_batch_size": data.draw(st.integers(1, 9)), "show_progress": False}
    queries = [text for lists in found.values() for text in lists]
    paths = [str(world / "clips" / name) for name in found]
    prototype = data.draw(st.sampled_from([dataset, paths, DATASETS.build(dataset)]))
    ours = TextToVideoRetrievalInferencer(model, prototype, **options, **sizes)
    run = {"return_datasamples": True, "batch_size": data.draw(st.integers(1, 9))}
    same_scores(torch.stack([s.pred_score for s in ours(queries, **run)]), t2v)
    prototype = data.draw(st.sampled_from([dataset, queries]))
    ours = VideoToTextRetrievalInferencer(model, prototype, **options, **sizes)
    same_scores(torch.stack([s.pred_score for s in ours(paths, **run)]), v2t)
    plain = ours(paths, topk=count)
    for row, matches in zip(v2t, plain, strict=True):
        listed = [match["match_score"] for match in matches]
        assert listed == sorted(listed, reverse=True)
        assert listed == pytest.approx(
            row[row > OUTSIDE].sort(descending=True).values.tolist(), abs=1e-3
        )
        assert all(match["sample"]["text"] == queries[match["sample_idx"]] for match in matches)


def test_without_re_ranking_the_cosine_ranks(world, model):
    clips = str(world / "clips")
    finder = TextToVideoRetrievalInferencer(model, clips, fast_match=True, show_progress=False)
    [matches] = finder("A red square moves!", topk=3)
    assert len(matches) == 3
    assert all(m["match_score"] == pytest.approx(m["similarity"], abs=1e-5) for m in matches)
    assert not finder.gallery.own_tokens
    assert matches[0]["sample"]["media_path"].startswith(clips)
    with pytest.raises(ValueError, match="re-ranks nothing"):
        TextToVideoRetrievalInferencer(model, clips, fast_match=True, k_test=3)


def test_media_from_memory_rank_as_their_files(world, model, tmp_path):
    files = sorted((world / "clips" / CLIPS[0]).glob("*.png"))
    arrays = [np.asarray(Image.open(file)) for file in files]
    quiet = {"show_progress": False, "k_test": 4}
    finders = [
        TextToImageRetrievalInferencer(model, media, **quiet)
        for media in (str(files[0].parent), arrays, [file.read_bytes() for file in files])
    ]
    found = [finder(["a red square", "a blue dot"], topk=9) for finder in finders]
    for other in found[1:]:
        for theirs, ours in zip(found[0], other, strict=True):
            assert [m["sample_idx"] for m in theirs] == [m["sample_idx"] for m in ours]
    [first], [same_one] = (
        ImageToTextRetrievalInferencer(model, ["a red bar", "dot"], **quiet)(picture)
        for picture in (arrays[0], str(files[0]))
    )
    assert first == same_one
    assert finders[0]("dot", show_dir=tmp_path / "show", out_file=tmp_path / "out" / "found.json")
    assert Image.open(tmp_path / "show" / "0.png").width > 50
    assert json.loads((tmp_path / "out" / "found.json").read_text())[0][0].keys() == {
        "match_score",
        "similarity",
        "sample_idx",
        "sample",
    }


def test_a_cache_gives_the_same_scores_and_belongs_to_what_made_it(world, model, tmp_path):
    folder, cache = tmp_path / "clips", tmp_path / "cache.safetensors"
    shutil.copytree(world / "clips", folder)
    options = {"prototype_cache": cache, "show_progress": False, "k_test": 3}

    def scores(**more):
        finder = TextToVideoRetrievalInferencer(model, str(folder), **{**options, **more})
        return finder(["red", "a blue dot"], return_datasamples=True)

    fresh, written = scores(), cache.stat().st_mtime_ns
    again = scores(gallery_dir=str(tmp_path / "tokens"))
    assert cache.stat().st_mtime_ns == written
    for ours, theirs in zip(fresh, again, strict=True):
        assert torch.equal(ours.pred_score, theirs.pred_score)
    names = [name for name, _ in model.named_parameters()]
    changed = {"adapter": "adapter.", "visual": "the backbone", "vision_proj": "adapter"}
    for start, said in changed.items():
        name = next(name for name in names if name.startswith(start))
        with torch.no_grad():
            dict(model.named_parameters())[name].add_(1)
            with pytest.raises(ValueError, match="was made with another state of: .*" + said[:7]):
                scores()
            dict(model.named_parameters())[name].sub_(1)
    (folder / CLIPS[1] / "000.png").write_bytes((folder / CLIPS[2] / "001.png").read_bytes())
    with pytest.raises(ValueError, match="what is in the prototype.*rebuild_cache=True"):
        scores()
    scores(rebuild_cache=True)
    assert cache.stat().st_mtime_ns > written
    texts = {**options, "prototype_cache": tmp_path / "texts.safetensors"}
    finders = [VideoToTextRetrievalInferencer(model, ["red", "blue dot"], **texts) for _ in "12"]
    clip = str(folder / CLIPS[3])
    assert finders[0](clip) == finders[1](clip)
    whole = cache.read_bytes()
    cache.write_bytes(whole[:99])
    with pytest.raises(ValueError, match=r"cache\.safetensors' is damaged"):
        scores()
    cache.write_bytes(whole)
    with safe_open(cache, "pt") as file:
        [(key, head)] = [pair for pair in file.metadata().items() if pair[0] != "format"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    head = json.loads(head)
    for wrong in (
        "[" * 100_000,
        "\x00",
        "[]",
        "{}",
        json.dumps({**head, "media": None}),
        json.dumps({**head, "media": head["media"][1:]}),
        json.dumps({**head, "media": [{**medium, "content": "x"} for medium in head["media"]]}),
    ):
        save_file(tensors, cache, {key: wrong})
        with pytest.raises(ValueError, match=r"cache\.safetensors' is damaged .*remove it"):
            scores()
    save_file({"features": tensors["features"]}, cache, {key: json.dumps(head)})
    with pytest.raises(ValueError, match=r"cache\.safetensors' is damaged"):
        scores()


def test_a_model_that_changed_is_noticed(world, model):
    finder = VideoToTextRetrievalInferencer(model, ["red"], show_progress=False)
    clip = str(world / "clips" / CLIPS[0])
    before = finder(clip)
    with (
        model.adapter_disabled(),
        pytest.raises(ValueError, match=r"call prepare_prototype\(\)"),
    ):
        finder(clip)
    with model.adapter_disabled():
        finder.prepare_prototype()
        assert finder(clip) != before


def test_adapters_beside_the_active_one_play_no_part(world):
    model = clips_model(world)
    finder = TextToVideoRetrievalInferencer(model, str(world / "clips"), show_progress=False)
    before = finder("a red square")
    model.add_adapter("other", model.cfg.model.adapter)
    assert finder("a red square") == before
    model.set_adapter("other")
    with pytest.raises(ValueError, match=r"call prepare_prototype\(\)"):
        finder("a red square")
    model.set_adapter("default")
    assert finder("a red square") == before
    # Embeddings know no rows; they would be those of one adapter in silence.
    model.active = ["default", "other"]
    extract = FeatureExtractor(model, show_progress=False)
    for call in (
        finder.prepare_prototype,
        lambda: encode_text(model, ["red", "blue"]),
        lambda: extract(texts=["red", "blue"]),
    ):
        with pytest.raises(ValueError, match="set model.active to its name"):
            call()


def test_linked_folders_are_searched_and_end(world, model, tmp_path):
    (tmp_path / "linked").symlink_to(world / "clips", target_is_directory=True)
    (tmp_path / "back").symlink_to(tmp_path, target_is_directory=True)
    found = prototypes.list_media(tmp_path, pictures=False)
    assert found == [str(tmp_path / "linked" / name) for name in sorted(CLIPS)]


def test_each_fault_has_one_clear_error(world, model, tmp_path, monkeypatch):
    quiet = {"show_progress": False}
    clips = str(world / "clips")

    def refused(kind, words, *args, error=ValueError, **more):
        with pytest.raises(error, match=words):
            kind(model, *args, **{**quiet, **more})

    videos, texts = TextToVideoRetrievalInferencer, VideoToTextRetrievalInferencer
    refused(videos, "prototype is empty", [])
    refused(videos, "holds no videos", str(tmp_path))
    refused(videos, "does not exist", str(tmp_path / "none"), error=FileNotFoundError)
    refused(videos, "6 pictures", str(world / "clips" / CLIPS[0]))
    refused(videos, "none.mp4.*does not exist", [str(tmp_path / "none.mp4")], error=MediaError)
    refused(videos, "a folder, a list", 3)
    refused(videos, "on_error", [clips], on_error="ignore")
    refused(texts, "prototype is empty", [])
    refused(texts, "blank", ["  "])
    refused(texts, "does not exist", "none.txt", error=FileNotFoundError)
    refused(texts, "k_test", ["red"], k_test=-1)
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 99)
    broken = [str(tmp_path / "broken.mp4"), str(world / "clips" / CLIPS[0])]
    refused(videos, "broken.mp4", broken, error=MediaError)
    warned: list[str] = []
    monkeypatch.setattr(prototypes, "print_log", lambda text, *_: warned.append(text))
    finder = videos(model, broken, on_error="skip", **quiet)
    assert warned == [f"1 of 2 media of the prototype can't be read and are left out: {broken[0]}"]
    assert [m["sample_idx"] for m in finder("red")[0]] == [1]
    assert [medium.name for medium in finder.gallery.skipped] == broken[:1]
    refused(videos, "no medium", broken[:1], on_error="skip")
    (tmp_path / "a.safetensors").mkdir()
    refused(videos, "is a folder", clips, prototype_cache=tmp_path / "a.safetensors")
    for inputs, options in (([], {}), (" ", {}), ([3], {}), ("red", {"topk": 0})):
        with pytest.raises(ValueError, match="."):
            finder(inputs, **options)
    with pytest.raises(ValueError, match="unknown argument"):
        finder("red", nothing=3)
