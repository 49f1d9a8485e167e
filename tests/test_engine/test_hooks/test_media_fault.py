from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from uniadapter.engine.hooks.media_fault import MediaFaultHook
from uniadapter.structures import MultimodalSample


@pytest.fixture
def runner() -> SimpleNamespace:
    hub = MessageHub("media_fault_test")
    return SimpleNamespace(message_hub=hub, logger=logging.getLogger("media_fault"), epoch=0)


def batch(*replaced: list[str]) -> dict:
    samples = [MultimodalSample(metainfo={"replaced": paths}) for paths in replaced]
    return {"inputs": [], "data_samples": samples}


def test_counts_and_names(runner: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    hook = MediaFaultHook()
    hook.after_train_iter(runner, 0, batch(["a.mp4"], []))
    hook.after_train_iter(runner, 1, batch(["a.mp4", "b.mp4"], []))
    assert runner.message_hub.get_scalar("train/media_replaced").current() == 3
    with caplog.at_level(logging.WARNING):
        hook.after_train_epoch(runner)
    assert "3 samples were replaced" in caplog.text
    assert "2 media could not be read: a.mp4, b.mp4" in caplog.text
    expected = {"replaced": 3, "paths": ["a.mp4", "b.mp4"]}
    assert runner.message_hub.get_info("media_faults") == expected


def test_nothing_to_say(runner: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    hook = MediaFaultHook()
    hook.after_train_iter(runner, 0, batch([], []))
    hook.after_train_iter(runner, 1, None)
    hook.after_train_epoch(runner)
    assert caplog.text == ""
    assert "train/media_replaced" not in runner.message_hub.log_scalars
