"""``--cfg-options`` reads what MMEngine's rules read, and says what it can't."""

from __future__ import annotations

import argparse
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import DictAction

from tests.helpers import ROOT, draws, load_tool
from uniadapter.utils.cfg_options import CfgOptions, parse_value

WORDS = st.sampled_from(
    ["1", "-2", "0.5", "1e-3", "True", "false", "None", "a", "x.py", "epoch_{}.pth", "[0-9]+x", ""]
)


def lists(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.lists(parts, max_size=3).map(",".join)
    return st.one_of(
        joined.map("[{}]".format), joined.map("({})".format), joined.map("'{}'".format)
    )


VALUES = st.one_of(
    st.recursive(WORDS, lists, max_leaves=8), st.lists(WORDS, min_size=2, max_size=3).map(",".join)
)


def read(action: Any, *pairs: str) -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=action)
    return parser.parse_args(["--cfg-options", *pairs]).cfg_options


@settings(max_examples=draws(60), deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=3))
def test_values_are_those_of_mmengine(values: list[str]):
    pairs = [f"model.a{number}={value}" for number, value in enumerate(values)]
    found = repr(read(CfgOptions, *pairs))
    try:
        wanted = repr(read(DictAction, *pairs))
    except RecursionError:
        # MMEngine comes to no end with some lists of parentheses.
        return
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a = b", "a = b"),
        ("/data/my videos/", "/data/my videos/"),
        ("[/my data/a.json, b]", ["/my data/a.json", "b"]),
        ("[ (1, 2) , [3] ]", [(1, 2), [3]]),
        ("(1),(2)", [(1,), (2,)]),
        ("a(b", "a(b"),
        ("resize(224)", "resize(224)"),
    ],
)
def test_beyond_mmengine(text: str, value: Any):
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("custom_hooks=[dict(type='EMAHook', momentum=0.1)]", "is a dictionary.*_base_"),
        ("custom_hooks=[dict(type=EMAHook)]", "is a dictionary"),
        ("model.adapter=dict(type=LoRA,rank=4)", "is a dictionary.*by its dotted name"),
        ("model.adapter={'type': 'LoRA', 'rank': 4}", "is a dictionary"),
        ("model.adapter={}", "is a dictionary"),
        ("a=[{'b': 1}, 2]", "is a dictionary"),
        ("model.adapter.rank", "no `=`: write KEY=VALUE"),
        ("a=[1,2", r"a \] is missing"),
        ("a=[1", r"a \] is missing"),
        ("a=(1,[2)]", r"a \) in .* closes nothing"),
        ("a=1,2]", r"a \] in .* closes nothing"),
        ("a=pad(1,2)", "a comma between brackets that are no list"),
        ("a=[layers[0,1]]", "a comma between brackets"),
    ],
)
def test_what_cannot_be_read(pair: str, said: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as caught:
        read(CfgOptions, "b=1", pair)
    assert caught.value.code == 2
    message = capsys.readouterr().err.replace("\n", " ")
    assert f"argument --cfg-options: {pair}: " in message
    assert re.search(said, message)


def test_later_ones_stand_beside_the_first():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions)
    arguments = ["--cfg-options", "a=1", "b=x", "--cfg-options", "b=[2]"]
    assert parser.parse_args(arguments).cfg_options == {"a": 1, "b": [2]}
    assert parser.parse_args([]).cfg_options is None


def test_every_command_has_it():
    files = [path for path in (ROOT / "tools").rglob("*.py") if "DictAction" in path.read_text()]
    assert not files


@pytest.mark.parametrize("tool", ["train.py", "test.py", "analysis_tools/count_params.py"])
def test_through_the_commands(tool: str, capsys: pytest.CaptureFixture):
    arguments = ["configs/uniadapter/msrvtt_r512.py"]
    arguments += ["checkpoint.pth"] if tool == "test.py" else []
    with pytest.raises(SystemExit) as caught:
        load_tool(tool).main([*arguments, "--cfg-options", "custom_hooks=[dict(type=A,x=1)]"])
    assert caught.value.code == 2
    assert "is a dictionary, which a command line can't give" in capsys.readouterr().err
