from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import adapter_cfg, tiny_batch, tiny_model
from uniadapter.engine.hooks import CompileHook


class _Logger:
    def info(self, message: str) -> None:
        self.message = message


def test_a_compiled_step_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    traced, calls = [], []
    compile_ = torch.compile

    def watched(call: Any, **options: Any) -> Any:
        traced.append(options)
        run = compile_(call, **options)
        return lambda *args, **kwargs: calls.append(kwargs["mode"]) or run(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", watched)
    steps = []
    for compiled in (False, True):
        torch.manual_seed(0)
        # One layer a tower: tracing takes its time, and layers are alike.
        cfg = tiny_retrieval_cfg()
        visual = {**cfg["visual"], "arch": {**cfg["visual"]["arch"], "num_layers": 1}}
        text = {**cfg["text"], "num_layers": 1}
        model = tiny_model(adapter=adapter_cfg(), visual=visual, text=text)
        runner = SimpleNamespace(model=model.train(), logger=_Logger())
        # Traced by dynamo, run without a C++ compiler.
        hook = CompileHook(backend="eager")
        plain = model.forward
        if compiled:
            hook.before_train(runner)
        losses = model(**tiny_batch(), mode="loss")
        sum(losses.values()).backward()
        steps.append([*losses.values(), *(p.grad for p in model.adapter.parameters())])
        if compiled:
            assert model.eval()(**tiny_batch(), mode="tensor")
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
