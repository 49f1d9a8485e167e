from __future__ import annotations

import builtins
import json
import math
from pprint import pformat
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers import load_tool, tiny_retrieval_cfg
from uniadapter.models.tokenizer import BertTokenizer

TOOL = load_tool("analysis_tools/benchmark_rerank.py")

# What the tool imports by putting its folder on the path.
from rerank_bench import growth, inputs, measure, operations  # noqa: E402
from rerank_bench.compare import order_errors, score_errors  # noqa: E402
from rerank_bench.rows import ROWS, as_table  # noqa: E402

SIZES = [
    "--frames",
    "2",
    "--texts",
    "6",
    "--eval-media",
    "5",
    "--eval-k",
    "2",
    "--eval-layers",
    "1",
]
SIZES += ["--eval-frames", "2", "--repeats", "2", "--threads", "1", "--matmul-size", "64"]


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Any) -> dict[str, str]:
    """A video, an image and an ALBEF config of tiny models."""
    folder, paths = tmp_path_factory.mktemp("configs"), {}
    albef = {**tiny_retrieval_cfg()["text"], "type_vocab_size": 2, "fusion_layer": 1}
    parts = {"video": {}, "image": {"pfa": None}, "albef": {"pfa": None, "text": albef}}
    for name, changed in parts.items():
        paths[name] = str(folder / f"{name}.py")
        (folder / f"{name}.py").write_text(
            f"model = {pformat(tiny_retrieval_cfg(tiny_vocab, **changed))}\n"
        )
    return paths


def _args(configs: dict[str, str], *more: str) -> Any:
    files = ["--video-config", configs["video"], "--image-config", configs["image"]]
    files += ["--albef-config", configs["albef"], "--albef-media", "2"]
    return TOOL.parse_args([*files, *SIZES, *more])


def test_every_row_has_its_figures(configs: dict[str, str]) -> None:
    results = TOOL.measure_rows(_args(configs))
    assert [row["name"] for row in results["rows"]] == [row.name for row in ROWS]
    assert set(results["matmul_gflops"]) == {"fp32", "bf16"}
    for row in results["rows"]:
        assert row["ratio"] == pytest.approx(row["naive_seconds"] / row["seconds"])
        assert row["naive_seconds"] > 0
        assert row["score_std"] > 1e-3
        assert row["threads"] == 1
        assert row["naive_chunk"] in measure.CHUNKS
        assert row["share_of_matmul_rate"] > 0
        assert row["counted_ratio"] > 1
        if row["precision"] == "fp32":
            assert row["max_error"] <= 1e-4
            assert row["equal"]
            assert row["only_one_scored"] == 0
        else:
            assert 1e-6 < row["max_error"] < 0.3
            assert row["pairs"] == 15
            assert row["naive_bf16_swapped"] <= 15
        assert row["met"] == (row["equal"] and row["ratio"] >= row["bound"])
        full = row["name"].endswith("_35")
        assert (row["mean_text_tokens"] == 35) == full
        if row["name"] == "evaluation":
            assert row["texts"] == 5
            assert 1 < row["counted_ratio_all_layers"] < row["counted_ratio"]
        else:
            assert len(row["all_seconds"]) == len(row["all_naive_seconds"]) == 2
        assert row["visual_tokens"] == (
            10 if row["name"].startswith(("video", "evaluation")) else 5
        )
    json.dumps(results)
    text = as_table(results["rows"], {"fp32": 1e9})
    assert all(row.what in text for row in ROWS)


def test_the_frame_weights_reach_the_scores(configs: dict[str, str]) -> None:
    scores = [
        measure.measure_rerank(
            measure.Sizes(configs["video"], frames=2, texts=6, pfa=pfa), ["fp32"], 1
        ).naive_scores[0]
        for pfa in ("released", "paper")
    ]
    assert (scores[0] - scores[1]).abs().max() > 1e-4


def test_the_evaluation_scores_both_directions(configs: dict[str, str]) -> None:
    sizes = measure.Sizes(configs["video"], frames=2, texts=6, media=3, k_test=2)
    measured = measure.measure_evaluation(sizes, ["fp32"], 1)
    for scores in (measured.naive_scores, measured.scores["fp32"]):
        assert [part.shape for part in scores] == [(6, 3), (3, 6)]
        assert [int((part != -100).sum()) for part in scores] == [12, 6]


def test_texts_are_as_long_as_the_model_keeps_them(configs: dict[str, str], tmp_path: Any) -> None:
    """A model that keeps fewer tokens than the longest caption has is compared on what it keeps."""
    cut = tmp_path / "cut.py"
    cut.write_text(
        f"_base_ = {configs['albef']!r}\nmodel = dict(data_preprocessor=dict(max_text_len=7))\n"
    )
    sizes = measure.Sizes(str(cut), frames=1, texts=6, media=2)
    measured = measure.measure_rerank(sizes, ["fp32"], 1)
    assert max(measured.lengths) == 7
    naive, ours = measured.naive_scores[0], measured.scores["fp32"][0]
    assert naive.shape == ours.shape == (12,)
    torch.testing.assert_close(ours, naive, atol=1e-4, rtol=0)


def test_the_command_prints_json_alone(
    configs: dict[str, str], capfd: pytest.CaptureFixture
) -> None:
    files = ["--video-config", configs["video"], "--image-config", configs["image"]]
    # Neither row has the frames of the one video.
    TOOL.main([*files, *SIZES[2:], "--rows", "image", "evaluation", "--json"])
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [row["name"] for row in rows] == ["image", "evaluation"]


def test_the_plot_has_its_points_beside_it(configs: dict[str, str], tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    points = {"k_test": [2, 4], "frames": [1, 2], "gallery": [2]}
    picture = tmp_path / "growth.png"
    TOOL.main(
        ["--video-config", configs["video"], "--threads", "1", "--plot", str(picture)]
        + ["--plot-points", json.dumps(points)]
    )
    assert picture.stat().st_size > 10_000
    drawn = json.loads((tmp_path / "growth.json").read_text())
    assert [(p["panel"], p["value"]) for p in drawn] == [
        (panel, value) for panel, values in points.items() for value in values
    ]
    assert all(p["naive_seconds"] > 0 and p["seconds"] > 0 for p in drawn)


def test_a_plot_without_matplotlib_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "matplotlib":
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RuntimeError, match="pip install matplotlib"):
        growth.load_matplotlib()


def test_captions_have_the_lengths_asked_for() -> None:
    lengths = inputs.caption_lengths(4000, seed=3)
    assert sum(lengths) / len(lengths) == pytest.approx(12, abs=0.3)
    assert min(lengths) >= 5
    assert max(lengths) <= 35
    assert inputs.caption_lengths(4000, seed=3) == lengths
    tokenizer = BertTokenizer()
    captions = inputs.random_captions(tokenizer, lengths[:50], seed=0)
    assert [len(tokenizer.encode(text)) for text in captions] == lengths[:50]
    assert len(set(captions)) == 50


def _widths(layers: int, adapter: Any, fusion: int = 0) -> Any:
    """Width 2, feed-forward 3, states of width 5."""
    layer = SimpleNamespace(intermediate=SimpleNamespace(dense=SimpleNamespace(out_features=3)))
    text = SimpleNamespace(
        hidden_size=2,
        encoder_width=5,
        num_layers=layers,
        fusion_layer=fusion,
        encoder=SimpleNamespace(layer=[layer]),
    )
    return SimpleNamespace(text=text, adapter=adapter)


def test_operations_are_counted_as_by_hand() -> None:
    # A layer: keys and values 2*7*5*2*2, six projections of width 2, feed-forward 2*2*3 twice,
    # attention to own tokens and to 7 states, each a product for logits and one for sums.
    states = 2 * 7 * 5 * 2 * 2
    assert operations.naive_operations(_widths(1, None), 7, 3, 4) == 3 * (
        states + 4 * (6 * 2 * 2 * 2 + 2 * 2 * 2 * 3) + 2 * 2 * 2 * 4 * (4 + 7)
    )
    whole = states + 5 * (6 * 8 + 24) + 8 * (2 * 2 + 3 * 3 + 5 * 7)
    # The last layer computes one row a text but keys and values of all tokens.
    last = states + 2 * 5 * 8 + 2 * (4 * 8 + 24) + 8 * (5 + 2 * 7)
    assert operations.useful_operations(_widths(1, None), 7, [2, 3]) == last
    assert operations.useful_operations(_widths(2, None), 7, [2, 3]) == whole + last
    # Two text layers below the one that reads: the naive way runs them for every pair.
    albef, below = _widths(3, None, fusion=2), 4 * (4 * 2 * 2 * 2 + 2 * 2 * 2 * 3) + 2 * 2 * 2 * 16
    assert operations.begun_operations(albef, [4]) == 2 * below
    assert operations.begun_operations(_widths(3, None), [4]) == 0
    one = operations.naive_operations(_widths(1, None), 7, 3, 4)
    assert operations.naive_operations(albef, 7, 3, 4) == one + 3 * 2 * below
    assert operations.useful_operations(albef, 7, [2, 3]) == last
    adapter = SimpleNamespace(
        layers={"0": None},
        options={"towers": ["text", "cross"], "query_residual": "shared", "bottleneck": 6},
    )
    more = operations.useful_operations(_widths(2, adapter), 7, [2, 3]) - whole - last
    assert more == 2 * 5 * (2 * 2 * 6 + 2 * 6 * 2)


def test_operations_of_an_evaluation_are_its_parts(configs: dict[str, str]) -> None:
    model = inputs.random_model(inputs.read_config(configs["video"]), 0)
    listed = torch.tensor([[True, False], [True, True], [False, True]])
    reverse = torch.tensor([[True, False, True], [True, True, False]])
    naive, useful = operations.evaluation_operations(model, 2, (listed, reverse), [5, 6, 7])
    # 2 layers of width 32 and feed-forward 64 on 4 patches of 16 x 16 pixels and a class token.
    layer = 5 * (8 * 32 * 32 + 4 * 32 * 64 + 4 * 32 * 8) + 4 * 32 * 25
    image = 4 * 2 * 32 * 3 * 256 + 2 * layer
    assert operations.visual_operations(model, 4) == 4 * image
    layer = 18 * (8 * 32 * 32 + 4 * 32 * 64 + 4 * 32 * 8) + 4 * 32 * (25 + 36 + 49)
    assert operations.text_operations(model, [5, 6, 7]) == 2 * layer
    texts = operations.text_operations(model, [35] * 3)
    assert naive == 4 * image + texts + operations.naive_operations(model, 10, 8, 35)
    pairs = [[5, 6, 7], [5, 6, 7]]
    matched = sum(operations.useful_operations(model, 10, lengths) for lengths in pairs)
    assert useful == 4 * image + 2 * layer + matched


def test_errors_and_order_are_found() -> None:
    naive = torch.tensor([[1.0, 2.0, -100.0], [0.0, 3.0, 4.0]])
    ours = torch.tensor([[1.0, 2.5, 7.0], [0.0, 3.0, -100.0]])
    errors = score_errors((naive,), (ours,))
    assert errors["max_error"] == 0.5
    assert errors["only_one_scored"] == 2
    order = order_errors(torch.tensor([0.0, 1.0, 1.5, 5.0]), torch.tensor([0.0, 2.0, 1.0, 5.0]))
    assert order == {"pairs": 6, "swapped": 1, "swapped_gap": 0.5, "best_equal": True}
    assert order_errors(naive[1], ours[1] + 200)["best_equal"] is False
    assert math.isfinite(operations.matmul_rate(torch.float32, 32, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--texts", "0"], "--texts: 0 must be at least 1"),
        (["--eval-k", "6"], "--eval-k 6 is more than --eval-media 5"),
        (["--plot", "growth.png"], "--plot without --rows does not read --albef-config"),
        (["--rows", "nothing"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_refused(
    options: list[str], message: str, configs: dict[str, str], capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        _args(configs, *options)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "options", "unread"),
    [
        (["image", "image_bf16"], ["--frames", "4", "--texts", "8"], "--frames"),
        (["evaluation"], ["--texts", "8", "--eval-k", "2"], "--texts"),
        (["video_paper_35"], ["--eval-k", "2", "--image-config", "x.py"], "--eval-k, --image-conf"),
        (["albef"], ["--albef-media", "2", "--video-config", "x.py"], "--video-config"),
    ],
)
def test_options_of_other_rows_are_refused(
    rows: list[str], options: list[str], unread: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        TOOL.parse_args(["--rows", *rows, *options])
    assert f"--rows {' '.join(rows)} does not read {unread}" in capsys.readouterr().err


def test_options_of_the_chosen_rows_are_read(capsys: pytest.CaptureFixture) -> None:
    given = ["--texts", "8", "--frames", "3", "--eval-k", "2", "--chunk", "4", "--seed", "1"]
    args = TOOL.parse_args(["--rows", "evaluation", "video_released", *given])
    assert (args.texts, args.frames, args.eval_k, args.chunk, args.seed) == (8, 3, 2, 4, 1)
    assert {TOOL.kind_of(row.case) for row in ROWS} == set(TOOL.READ)
    drawn = ["--plot", "growth.png", "--video-config", "configs/uniadapter/msrvtt_r512.py"]
    assert TOOL.parse_args(["--rows", "image", *drawn]).plot == "growth.png"
    with pytest.raises(SystemExit):
        TOOL.parse_args(["--plot", "growth.pdf", "--rows", "image"])
    assert "must end in .png" in capsys.readouterr().err


def test_wrong_configs_are_refused(configs: dict[str, str], tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="'model.pfa' is not set"):
        inputs.read_config(configs["image"], pfa="paper")
    path = tmp_path / "model.py"
    path.write_text(f"model = {pformat(tiny_retrieval_cfg())}\n")
    with pytest.raises(ValueError, match="data_preprocessor"):
        inputs.read_config(str(path))
