"""The prefix cache's files: damage, rounding, budget, several writers, errors."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.model_helpers import adapter_cfg, outputs, same, tiny_batch
from tests.prefix_helpers import FRAMES, build, counts, entries
from uniadapter.models.fast import prefix_cache as module
from uniadapter.models.fast.prefix_cache import PrefixCache


@pytest.fixture
def warnings(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(module, "print_log", lambda message, *_: said.append(message))
    return said


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "renamed"])
def test_a_damaged_entry_is_computed_anew(tmp_path, warnings, damage):
    batch = tiny_batch()
    want = outputs(build(tmp_path).eval(), batch)
    names = entries(tmp_path)
    for name, other in zip(names[:2], names[2:4], strict=True):
        data = bytearray(name.read_bytes())
        data[-5] ^= 1
        wrong = {"cut": data[:100], "bit": data, "empty": b"", "renamed": other.read_bytes()}
        name.write_bytes(wrong[damage])
    model = build(tmp_path).eval()
    got = outputs(model, batch)
    torch.testing.assert_close(got, want)
    assert (model.prefix_cache.hits, model.prefix_cache.misses) == (FRAMES - 2, 2)
    assert len(warnings) == 1
    assert "is damaged and computed anew" in warnings[0]
    assert str(tmp_path) in warnings[0]
    assert counts(model) == (FRAMES, 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rounds_in_every_run_alike(tmp_path, dtype):
    batch = tiny_batch()
    off = outputs(build(None).eval(), batch)
    cold, warm = (
        outputs(build(tmp_path, options={"dtype": dtype}).eval(), batch) for _ in range(2)
    )
    assert same(cold, warm)
    assert not same(cold, off)
    torch.testing.assert_close(cold[0], off[0], atol=0.1, rtol=0.1)
    assert warm[0].dtype == torch.float32


def test_half_precision_takes_half_the_space(tmp_path):
    sizes = {}
    for dtype in ("float32", "float16"):
        counts(build(tmp_path / dtype, options={"dtype": dtype}))
        sizes[dtype] = entries(tmp_path / dtype)[0].stat().st_size
    # 5 tokens of 32 channels.
    assert sizes["float32"] - sizes["float16"] == 5 * 32 * 2


def test_what_does_not_fit_float16_is_an_error(tmp_path):
    model = build(tmp_path, options={"dtype": "float16"})
    with torch.no_grad():
        model.visual.pos_embed.fill_(1e5)
    with pytest.raises(ValueError, match="do not fit model.prefix_cache.dtype='float16'"):
        counts(model)
    assert not entries(tmp_path)


def test_the_budget_is_kept_with_one_warning(tmp_path, warnings):
    counts(build(tmp_path / "all"))
    size = entries(tmp_path / "all")[0].stat().st_size
    options = {"max_gib": 3.5 * size / 2**30}
    model = build(tmp_path / "some", options=options)
    want = outputs(build(None).eval(), tiny_batch())
    for _ in range(2):
        torch.testing.assert_close(outputs(model.eval(), tiny_batch()), want)
    assert len(entries(tmp_path / "some")) == 3
    assert len(warnings) == 1
    assert "Raise max_gib or remove entries" in warnings[0]
    # What is there already counts.
    counts(build(tmp_path / "some", options=options, seed=7))
    assert len(entries(tmp_path / "some")) == 3


def test_ranks_share_the_budget(tmp_path, monkeypatch, warnings):
    counts(build(tmp_path / "all"))
    size = entries(tmp_path / "all")[0].stat().st_size
    monkeypatch.setattr(module, "get_world_size", lambda: 2)
    counts(build(tmp_path / "some", options={"max_gib": 4.5 * size / 2**30}))
    assert len(entries(tmp_path / "some")) == 2


def test_many_writers_of_one_entry_leave_a_whole_one(tmp_path):
    cache = PrefixCache(str(tmp_path))
    tokens = torch.randn(50, 64)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache._write("ab12", tokens, torch.float32), range(64)))
    found, computed = cache._read("ab12")
    assert torch.equal(found, tokens)
    assert computed == torch.float32
    assert [path.name for path in (tmp_path / "ab").iterdir()] == ["ab12.prefix"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    model = build(tmp_path / "file")
    with pytest.raises(OSError, match=r"model\.prefix_cache\.dir='.*file' must be a folder"):
        counts(model)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "atomic_write", full)
    with pytest.raises(OSError, match=r"cannot be written \(No space left.*max_gib") as caught:
        counts(build(tmp_path / "new"))
    assert caught.value.errno == errno.ENOSPC


def test_an_entry_that_cannot_be_read_is_an_error(tmp_path):
    model = build(tmp_path)
    counts(model)
    name = entries(tmp_path)[0]
    name.unlink()
    name.mkdir()
    with pytest.raises(OSError, match=r"\.prefix cannot be read"):
        counts(model)


@pytest.mark.parametrize(
    "options", [{"adapter": adapter_cfg()}, {"adapter": None, "train_backbone": True}]
)
def test_nothing_to_keep_is_an_error(tmp_path, options):
    with pytest.raises(ValueError, match="would save nothing.*Set adapter.layers to a range"):
        build(tmp_path, **options)


def test_options_are_checked():
    assert PrefixCache.build(None) is None
    with pytest.raises(ValueError, match=r"model\.prefix_cache needs the key dir"):
        PrefixCache.build({})
    with pytest.raises(ValueError, match=r"model\.prefix_cache\.size is unknown: choose from"):
        PrefixCache.build({"dir": "x", "size": 3})
    with pytest.raises(ValueError, match=r"prefix_cache\.dtype='int8' is unknown: choose from"):
        PrefixCache(dir="x", dtype="int8")
    with pytest.raises(ValueError, match=r"prefix_cache\.max_gib=0 must be above 0"):
        PrefixCache(dir="x", max_gib=0)
    with pytest.raises(ValueError, match=r"prefix_cache\.train=1 must be True or False"):
        PrefixCache(dir="x", train=1)
    with pytest.raises(ValueError, match=r"prefix_cache\.dir='' must name a folder"):
        PrefixCache(dir="")


def test_hits_are_reported(tmp_path, monkeypatch, warnings):
    monkeypatch.setattr(module, "_REPORT_EVERY", 10)
    model = build(tmp_path)
    counts(model)
    assert not warnings
    counts(model)
    assert warnings == [f"Prefix cache {tmp_path}: 6 of 12 frames were found."]
