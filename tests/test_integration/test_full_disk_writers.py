"""Everything that writes a result finds no room or no right: what was there stays as it was."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import ROOT, draws, tiny_retrieval_cfg, write_vocab
from tests.model_helpers import randomize
from tests.nobody import as_nobody, needs_nobody, readable
from tests.test_checkpoints.test_layouts.test_written import config_of, saved
from tests.test_utils.test_full_disk import Limit
from uniadapter.apis.convert import convert_checkpoint
from uniadapter.apis.export.exporting import whole_folder
from uniadapter.apis.inferencers.cache import PrototypeCache
from uniadapter.apis.model import build_model
from uniadapter.apis.publish import PublishOptions, publish_adapter
from uniadapter.checkpoints.adapter import save_adapter
from uniadapter.datasets.feature_stores.writing import FeatureWriter
from uniadapter.datasets.tap_store import TapStore
from uniadapter.engine.hooks.prediction import write_rows
from uniadapter.evaluation.metrics.gathered import write_json
from uniadapter.registry import register_all_modules
from uniadapter.retrieval import Texts
from uniadapter.search.corpus_table import Row, writing_shard
from uniadapter.search.envelope import write_envelope
from uniadapter.search.store import Layout
from uniadapter.structures import KeptStates
from uniadapter.utils.errors import WriteError
from uniadapter.visualization.report import Entry, Panel, Report

#: Places that open a file for writing by other means than the writers of utils, and why they may.
OTHERS = {
    "uniadapter/apis/export/writing.py": "in a folder that takes its place when it is whole",
    "uniadapter/checkpoints/files.py": "the writer of weights",
    "uniadapter/engine/runner/work_dir.py": "a lock",
    "uniadapter/search/page/media_worker.py": "the page's cache, which takes whole files",
    "uniadapter/search/store.py": "rows of an index, of which the database says how many count",
    "uniadapter/utils/download.py": "a partial file, which is checked and renamed",
    "uniadapter/utils/safe_io.py": "the writer of files",
    "tools/analysis_tools/benchmark_search.py": "a gallery for one measurement",
    "tools/analysis_tools/decode_bench/clips.py": "videos, which OpenCV writes to a path alone",
    "tools/dataset_converters/extract_frames.py": "in a folder that is renamed when it is whole",
    "tools/dataset_converters/prepare_real_pictures.py": "pictures, whose manifest comes last",
    "tools/dataset_converters/toy_world/files.py": "videos, which OpenCV writes to a path alone",
    "tools/quickstart.py": "a log",
    "tools/study/pool.py": "a log",
    "tools/study/train.py": "a switch of the system",
}
_WRITES = re.compile(
    r"""\bopen\([^)\n]*["'][wax]b?\+?["']|\.open\(["'][wax]|torch\.save\(|export\.save\(|ir\.save\(|"""
    r"""save_file\(|write_text\(|write_bytes\(|np\.savez?\(|open_memmap\(|to_parquet\(|"""
    r"""json\.dump\(|imwrite\(|VideoWriter\(|savefig\((?!picture)|Image\.[^\n]*\.save\("""
)


def test_no_other_code_writes_files():
    """What is new writes through the writers of utils, or is listed here with its reason."""
    found = {
        str(path.relative_to(ROOT))
        for folder in ("uniadapter", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if _WRITES.search(path.read_text(encoding="utf-8"))
    }
    in_memory = {
        "uniadapter/datasets/feature_stores/writing.py",
        "tools/dataset_converters/extract_toy_features.py",
        "tools/dataset_converters/make_toy_world.py",
        "tools/model_converters/convert_sentencepiece.py",
    }
    assert found - in_memory == set(OTHERS)


class Parts:
    """What the writers write, of one content or another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        register_all_modules()
        self.cfg = {"model": tiny_retrieval_cfg(write_vocab(root / "vocab.txt"))}
        self.models = [randomize(build_model(self.cfg["model"]), seed=seed) for seed in range(2)]
        self.hf = config_of("retrieval")
        self.sources = []
        for number in range(2):
            (root / f"{number}").mkdir()
            self.sources.append(saved(self.hf, root / f"{number}", number)[1])
            self.models[number].save_pretrained(root / f"adapter{number}", self.cfg, True)
        self.adapters = [root / f"adapter{number}" for number in range(2)]


def _texts(parts: Parts, folder: Path, seed: int) -> None:
    texts = Texts(*(torch.full((30, 30), float(seed)) for _ in range(4)))
    PrototypeCache(folder / "x.safetensors").save_texts(texts, {"items": str(seed)})


def _report(parts: Parts, folder: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)
    report = Report("title", [], [Entry("one", [], [Panel(Image.fromarray(noise), "x")])])
    report.save(folder / "x.png")


def _taps(parts: Parts, folder: Path, seed: int) -> None:
    store = TapStore(folder / "taps", {"dtype": "float32"}, ([0], [0]))
    store.begin()
    states = KeptStates(torch.full((2, 1, 30, 8), float(seed)), torch.ones(2, 1, 8))
    store.put(seed, states, {0: ("text", torch.ones(4, dtype=torch.long), states)})


def _shard(parts: Parts, folder: Path, seed: int) -> None:
    layout = Layout(8, 2, None)
    numbers = np.random.default_rng(seed).normal(size=(200, 8)).astype(np.float32)
    with writing_shard(folder / "x.parquet", layout, {"x": seed}) as shard:
        frames = np.zeros((2, 9), np.float32)
        shard.write(
            [
                Row(f"{i}", "video", i, 0, None, numbers={"features": n, "frames": frames})
                for i, n in enumerate(numbers)
            ]
        )


def _whole(parts: Parts, folder: Path, seed: int) -> None:
    with whole_folder(folder / f"{seed}") as inside, open(inside / "x", "ab") as file:
        file.write(bytes(3000))


def _published(parts: Parts, folder: Path, seed: int) -> None:
    publish_adapter(parts.adapters[seed], folder, PublishOptions(name="x", with_backbone=True))


def _rows(write: Callable[..., None], parts: Parts, folder: Path, seed: int) -> None:
    write(folder / "x.json", [{"id": number, "answer": seed} for number in range(300)])


WRITERS: dict[str, Callable[[Parts, Path, int], Any]] = {
    "adapter": lambda parts, folder, seed: save_adapter(parts.models[seed], folder),
    "shared": lambda parts, folder, seed: parts.models[seed].save_pretrained(
        folder, parts.cfg, True
    ),
    "published": _published,
    "converted": lambda parts, folder, seed: convert_checkpoint(
        parts.sources[seed], folder / "x.pth", parts.hf, target="blip"
    ),
    "transformers": lambda parts, folder, seed: convert_checkpoint(
        parts.sources[seed], folder, parts.hf, target="hf"
    ),
    "exported": _whole,
    "prototypes": _texts,
    "report": _report,
    "taps": _taps,
    "shard": _shard,
    "features": lambda parts, folder, seed: FeatureWriter(str(folder), "parquet").write(
        "x", {"a": np.random.default_rng(seed).random((90, 30), np.float32)}
    ),
    "first stage": lambda parts, folder, seed: write_envelope(
        folder / "x", {"seed": seed}, lambda file: file.write(bytes(5000))
    ),
    "results": partial(_rows, partial(write_json, metric="x")),
    "predictions": partial(_rows, write_rows),
}


def tree(folder: Path) -> dict[str, bytes | None]:
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}


@contextmanager
def silent() -> Iterator[None]:
    logging.disable()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return Parts(tmp_path_factory.mktemp("parts"))


@pytest.mark.parametrize("name", sorted(WRITERS))
@settings(
    max_examples=draws(1, deep=15),
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(size=700, old=True)
@given(size=st.integers(0, 1000), old=st.booleans())
def test_what_was_there_stays(
    name: str, size: int, old: bool, parts: Parts, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("full") / "folder"
    folder.mkdir()
    if old:
        WRITERS[name](parts, folder, 0)
    before = tree(folder)
    # What is logged goes to a file of the tests', which the limit is not meant for.
    with silent(), Limit(size), pytest.raises(WriteError) as error:
        WRITERS[name](parts, folder, 1)
    text = str(error.value)
    assert str(folder) in text
    assert ".tmp" not in text
    # torch's own writer doesn't say why.
    remedy = "see that its disk has room." if name == "converted" else "files (ulimit -f)."
    assert text.endswith(remedy)
    left = tree(folder)
    if name == "taps":
        # The manifest is of all media, of which one counts when all of it is there.
        left = {path: left[path] for path in before}
    assert left == before
    WRITERS[name](parts, folder, 1)
    assert tree(folder) != before


@needs_nobody
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_folder_of_somebody_else(name: str, parts: Parts, tmp_path: Path):
    """A user without rights and home gets one error, whether something is there or not."""
    readable(parts.root)
    for number in range(2):
        folder = readable(tmp_path)
        before = tree(folder)
        found = as_nobody(partial(WRITERS[name], parts, folder / "x", 1))
        assert found.meant, found
        assert str(folder) in str(found.error)
        assert str(found.error).endswith(": make it writable, or name another place.")
        assert ".tmp" not in str(found.error)
        assert tree(folder) == before
        if number == 0:
            (tmp_path / "x").mkdir()
            WRITERS[name](parts, tmp_path / "x", 0)
