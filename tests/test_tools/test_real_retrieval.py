from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from tests.helpers import ROOT, load_tool
from tests.test_tools.test_prepare_real_pictures import tool as prepare
from tests.test_tools.test_prepare_real_pictures import write_stamps
from uniadapter.checkpoints import write
from uniadapter.models import build_model

tool = load_tool("analysis_tools/real_retrieval.py")
joiner = load_tool("model_converters/join_minilm_lite0.py")
study, scores, training, tables, pictures, frozen = (
    sys.modules[f"real_bench.{name}"]
    for name in ("study", "scores", "training", "tables", "pictures", "frozen")
)
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "thing",
    "number",
    ".",
    *map(str, range(150)),
]
SIZE, CLASSES = 16, 5
LITE = {"stem": 4, "groups": [(1, 3, 1, 1, 4), (2, 3, 2, 2, 6)], "head": 8}
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 12,
    "max_positions": 40,
    "type_vocab_size": 0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}


def model_cfg(folder: Path, adapter: Any = None, **options: Any) -> dict[str, Any]:
    """The dual encoder of small towers: layers 1 to 4 of images, 3 and 4 of texts."""
    tokenizer = {"type": "BertTokenizer", "vocab_file": str(folder / "vocab.txt")}
    return {
        "type": "RetrievalModel",
        "data_preprocessor": {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": {**tokenizer, "extra_tokens": []},
        },
        "visual": {
            "type": "EfficientNetLite",
            "arch": LITE,
            "img_size": SIZE,
            "num_classes": CLASSES,
        },
        "text": {**TEXT, "type": "SentenceBert", "layer_offset": 2},
        "adapter": adapter,
        "contrast": {"type": "BatchContrastHead", "embed_dim": 8, "bias": True},
        "matching": None,
        **options,
    }


ADAPTERS: dict[str, Any] = {
    "linear_probe": None,
    "uniadapter": {
        "type": "UniAdapter",
        "bottleneck": 2,
        "towers": ["visual", "text"],
        "layers": "3-4",
    },
    "lora": {"type": "LoRA", "rank": 1, "targets": ["q", "fc2"], "layers": "3-4"},
    "unipt": {"type": "UniPT", "taps": {"visual": "3-4"}},
    "full_finetune": None,
}


def write_rows(folder: Path) -> dict[str, Any]:
    """Configs of small models, and the rows that are made of them."""
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    rows = {}
    for name, adapter in ADAPTERS.items():
        cfg = model_cfg(folder, adapter, train_backbone=name == "full_finetune")
        (folder / f"{name}.py").write_text(f"model = {cfg!r}\n")
        recipe = training.Recipe(1, 6, 0.05)
        rows[name] = study.Row(str(folder / f"{name}.py"), (1e-3, 1e-2), 2, recipe)
    cfg = model_cfg(folder, {"type": "UniPT", "taps": {"visual": "2,3"}}, type="VseModel")
    del cfg["matching"]
    cfg["visual"]["num_classes"] = 0
    cfg["text"] = {**TEXT, "type": "BertText"}
    cfg["contrast"] = {"type": "PooledHingeHead", "embed_dim": 8}
    (folder / "real_vse.py").write_text(f"model = {cfg!r}\n")
    rows["real_vse"] = study.Row(str(folder / "real_vse.py"), (1e-3,), 1, recipe)
    return rows


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, weights and small rows in the place of the tool's."""
    write_stamps(tmp_path / "package", 30)
    sizes = ["--splits", "2", "--test", "5", "--val", "4", "--size", str(SIZE)]
    prepare.main(["--stamps", str(tmp_path / "package"), "--out", str(tmp_path / "real"), *sizes])
    rows = write_rows(tmp_path)
    monkeypatch.setattr(study, "ROWS", rows)
    monkeypatch.setattr(tool, "ROWS", rows)
    monkeypatch.setattr(study, "_PLAIN", rows["linear_probe"].config)
    monkeypatch.setattr(study, "_LOWER", 2)
    monkeypatch.setattr(study, "STRENGTHS", (1.0, 10.0))
    torch.manual_seed(0)
    model = build_model(model_cfg(tmp_path))
    with torch.no_grad():
        model.vision_proj.weight[:, :8] = 0
        for projection in (model.vision_proj, model.text_proj):
            projection.bias.zero_()
        nn.init.eye_(model.text_proj.weight)
    state = {n: t for n, t in model.state_dict().items() if n != "logit_scale"}
    write(tmp_path / "towers.safetensors", state)
    return tmp_path


def arguments(place: Path, *more: str) -> list[str]:
    named = {
        "--data": "real",
        "--weights": "towers.safetensors",
        "--results": "results",
        "--cache": "cache",
        "--page": "page.md",
    }
    pairs = [part for name, path in named.items() for part in (name, str(place / path))]
    return [*pairs, "--splits", "2", *more]


def test_every_row_runs_once_and_stands_in_the_page(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "page.md").write_text(
        "before\n<!-- table:stamps -->\n<!-- /table:stamps -->\nbehind\n"
    )
    tool.main(arguments(place))
    runs = json.loads((place / "results/stamps.json").read_text())["runs"]
    # A trained row has both rates on the first split, and one of them on the second.
    trained = {row: sorted(k for k in runs if k.startswith(f"{row}/")) for row in study.ROWS}
    assert all(len(keys) == 3 for row, keys in trained.items() if row != "real_vse")
    assert len(trained["real_vse"]) == 2
    assert len(runs) == 4 * 2 + 5 * 3 + 2
    page = (place / "page.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("behind\n")
    assert page.count("\n| ") == 2 + 4 + 6
    assert "| linear probe | 185 |" in page

    def never(*_: Any) -> None:
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(study, "train", never)
    monkeypatch.setattr(
        tool, "imagenet_names", lambda: [f"thing number {i}" for i in range(CLASSES)]
    )
    tool.main(arguments(place, "--rows", "lora", "unipt", "--classes"))
    assert (place / "page.md").read_text() == page
    assert "stamps: 0 of 0 pictures called by a class's name" in capsys.readouterr().out


def test_the_page_has_the_table_of_the_results() -> None:
    for path in sorted((ROOT / "configs/real/results").glob("*.json")):
        made = tables.table(json.loads(path.read_text(encoding="utf-8"))["runs"])
        assert made in (ROOT / "docs/real_weights.md").read_text(encoding="utf-8")


def test_configs_have_the_rate_that_the_page_has() -> None:
    runs = json.loads((ROOT / "configs/real/results/stamps.json").read_text())["runs"]
    for row, chosen in study.ROWS.items():
        rate, _ = tables.chosen_runs(runs, row)
        config = Config.fromfile(str(ROOT / chosen.config))
        assert config.optim_wrapper.optimizer.lr == float(rate), row
        assert config.train_cfg.max_epochs == chosen.recipe.epochs
        assert config.train_dataloader.batch_size == chosen.recipe.batch
        assert config.optim_wrapper.optimizer.weight_decay == chosen.recipe.decay


def test_a_row_of_another_config_is_run_again(place: Path) -> None:
    tool.main(arguments(place, "--rows", "linear_probe"))
    path = place / "results/stamps.json"
    before = json.loads(path.read_text())["runs"]
    config = Path(study.ROWS["linear_probe"].config)
    config.write_text(
        config.read_text().replace("'bias': True", "'temperature': 0.5, 'bias': True")
    )
    tool.main(arguments(place, "--rows", "linear_probe"))
    after = json.loads(path.read_text())["runs"]
    assert all(after[key]["loss"] != before[key]["loss"] for key in before if key in after)


def test_runs_of_another_config_are_not_in_the_page(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = place / "page.md"
    page.write_text("<!-- table:stamps -->\n<!-- /table:stamps -->\n")
    tool.main(arguments(place, "--rows", "linear_probe", "zero_shot"))
    assert "| linear probe |" in page.read_text()
    config = Path(study.ROWS["linear_probe"].config)
    config.write_text(
        config.read_text().replace("'bias': True", "'temperature': 0.5, 'bias': True")
    )
    capsys.readouterr()
    tool.main(arguments(place, "--rows", "zero_shot"))
    assert "runs of other configs are left out: linear_probe" in capsys.readouterr().out
    assert "| linear probe |" not in page.read_text()
    assert "| frozen, by the names" in page.read_text()


def test_results_of_other_pictures_are_kept_apart(place: Path) -> None:
    tool.main(arguments(place, "--rows", "zero_shot"))
    sizes = ["--splits", "2", "--test", "5", "--val", "4", "--size", str(SIZE), "--seed", "1"]
    prepare.main(["--stamps", str(place / "package"), "--out", str(place / "real"), *sizes])
    with pytest.raises(SystemExit, match="holds results of other pictures or weights"):
        tool.main(arguments(place, "--rows", "zero_shot"))


@pytest.mark.parametrize("row", [*ADAPTERS])
def test_a_trained_row_begins_as_the_frozen_one(place: Path, row: str) -> None:
    collection = pictures.load_collection(place / "real/stamps")
    paths = (place / name for name in ("towers.safetensors", "r.json", "cache/stamps.pt"))
    found = study.Study(collection, *paths)
    model = found.model(study.ROWS[row].config)
    encoder = training.Encoder(model, collection, found.frozen(2))
    want = {"full_finetune": 0, "linear_probe": 4, "unipt": 4}.get(row, 2)
    assert encoder.level == want
    rows = torch.arange(7)
    with torch.no_grad():
        got = encoder.visual(rows) @ encoder.text(rows).t()
    # Half precision of what is kept.
    torch.testing.assert_close(
        got, found.scores(found.named(1.0), list(range(7))), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("manifest.json", "manifest.json does not exist"),
        ("captions.json", "captions.json does not exist"),
        ("images/0003.png", "0003.png does not exist"),
        ("splits/1/val.jsonl", "val.jsonl does not exist"),
    ],
)
def test_a_collection_that_lacks_a_file_is_refused(place: Path, spoil: str, said: str) -> None:
    (place / "real/stamps" / spoil).unlink()
    with pytest.raises(SystemExit, match=said):
        tool.main(arguments(place, "--rows", "zero_shot"))


def test_another_picture_or_too_many_splits_are_refused(place: Path) -> None:
    with pytest.raises(SystemExit, match="stamps has 2 splits, not 3"):
        tool.main([*arguments(place, "--rows", "zero_shot"), "--splits", "3"])
    images = place / "real/stamps/images"
    (images / "0001.png").write_bytes((images / "0002.png").read_bytes())
    with pytest.raises(SystemExit, match=r"0001.png is not the picture that was prepared"):
        tool.main(arguments(place, "--rows", "zero_shot"))


@pytest.mark.parametrize("name", ["captions.json", "splits/1/test.jsonl"])
def test_captions_and_splits_are_those_that_were_prepared(place: Path, name: str) -> None:
    path = place / "real/stamps" / name
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A split without its first picture; a description with another article.
    text = "".join(lines[1:]) if "splits" in name else "".join(lines).replace('": "A', '": "The')
    assert text != "".join(lines)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="Captions or splits in .* were changed by hand"):
        tool.main(arguments(place, "--rows", "zero_shot"))


def test_joined_towers_compare_by_the_names_of_classes(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.test_checkpoints.test_layouts.test_towers import lite_file

    lite_file(tmp_path / "lite.pth")
    folder = text_folder(tmp_path / "encoder")
    cfg = model_cfg(folder)
    cfg["visual"].update(
        arch={"stem": 4, "groups": [(1, 3, 1, 1, 4), (2, 5, 2, 2, 6)], "head": 10}, num_classes=7
    )
    names = [f"thing {i}" for i in range(7)]
    state, report = joiner.join(folder, tmp_path / "lite.pth", cfg, names)
    assert len(report.used) + len(report.left) > 100
    model = build_model({**cfg, "data_preprocessor": None}).eval()
    lacking, unknown = model.load_state_dict(state, strict=False)
    assert lacking == ["logit_scale"]
    assert not unknown
    x = torch.randn(3, 1, 3, SIZE, SIZE)
    tokenizer = joiner.BertTokenizer(str(folder / "vocab.txt"), extra_tokens=[])
    with torch.no_grad():
        named = joiner.embed_texts(model.text, tokenizer, names)
        want = F.normalize(model.visual.logits(x[:, 0]).softmax(-1) @ named, dim=-1)
        torch.testing.assert_close(model.encode_visual(x, True)[1], want)
        got = model.encode_text(*tokenizer(names, 20), class_only=True)[1]
        torch.testing.assert_close(got, named)
    with pytest.raises(ValueError, match="6 names of classes, and the classifier has 7"):
        joiner.join(folder, tmp_path / "lite.pth", cfg, names[:6])


def text_folder(folder: Path) -> Path:
    """A sentence encoder of transformers with a vocabulary."""
    import transformers

    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(
        vocab_size=len(WORDS), max_position_embeddings=40, intermediate_size=12, **sizes
    )
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def test_the_weights_must_fit_the_rows(place: Path) -> None:
    projections = {"vision_proj.weight": torch.ones(8, 13)}
    for lacks in ("text_proj", "visual"):
        write(place / "towers.safetensors", projections)
        with pytest.raises(SystemExit, match=rf"towers.safetensors has no \['{lacks}"):
            tool.main(arguments(place, "--rows", "zero_shot", "linear_probe"))
        projections["text_proj.weight"] = torch.ones(8, 8)
    (place / "towers.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"towers.safetensors does not exist"):
        tool.main(arguments(place, "--rows", "zero_shot"))
