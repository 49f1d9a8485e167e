from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.model_helpers import adapter_cfg, tiny_batch, tiny_model
from tests.test_models.test_adapters import contract_models as models
from uniadapter.engine.hooks import CompileHook


class _Logger:
    def info(self, message: str) -> None:
        self.message = message


@pytest.mark.parametrize(
    ("build", "loss"),
    [
        pytest.param(models.caption, models.words_loss, id="caption"),
        # Half a minute: dynamo meets the draws of negatives and the averages too.
        pytest.param(models.blip_video, models.pairs_loss, id="pairs", marks=pytest.mark.deep),
    ],
)
def test_a_compiled_step_equals_the_plain_one(
    build: Any, loss: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    traced, calls = [], []
    compile_ = torch.compile

    def watched(call: Any, **options: Any) -> Any:
        traced.append(options)
        run = compile_(call, **options)
        return lambda *args, **kwargs: calls.append(kwargs["mode"]) or run(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", watched)
    folder, steps = models.write_files(tmp_path), []
    for compiled in (False, True):
        model = build(adapter_cfg(), folder)
        runner = SimpleNamespace(model=model.train(), logger=_Logger())
        # Traced by dynamo, run without a C++ compiler.
        hook = CompileHook(backend="eager")
        plain = model.forward
        if compiled:
            hook.before_train(runner)
        total = loss(model)
        total.backward()
        steps.append([total, *(p.grad for p in model.adapter.parameters())])
        if compiled:
            assert model.eval()(**tiny_batch(), mode="tensor") is not None
            hook.after_train(runner)
            assert model.forward == plain
    # The test's pass is the plain one.
    assert calls == ["loss"]
    assert traced == [{"backend": "eager", "dynamic": None}]
    torch.testing.assert_close(steps[1], steps[0], atol=1e-5, rtol=1e-4)


def test_an_unknown_backend_is_refused() -> None:
    runner = SimpleNamespace(model=tiny_model(), logger=_Logger())
    with pytest.raises(ValueError, match="CompileHook.backend='gcc': choose from"):
        CompileHook(backend="gcc").before_train(runner)
