"""The counts of spec section 5, and the command that prints them."""

from __future__ import annotations

import json
import resource

import pytest

from tests.helpers import ROOT, run_script
from tools.analysis_tools.count_params import as_table, count_config

UNIADAPTER = str(ROOT / "configs/uniadapter/msrvtt_r512.py")
PLAIN = {"sharing": "none", "query_residual": "off", "textual_branch": False}


def counted(config: str = UNIADAPTER, **adapter) -> dict[str, int]:
    return count_config(config, {f"model.adapter.{key}": v for key, v in adapter.items()})


@pytest.mark.parametrize(
    ("options", "adapter"),
    [
        ({"bottleneck": 128}, 4_747_776),
        ({"bottleneck": 128, "variant": "released"}, 4_784_640),
        ({}, 18_908_160),
        ({"variant": "released"}, 18_945_024),
        ({"sharing": "up"}, 18_902_016),
        ({"sharing": "down+up"}, 9_452_544),
        ({"sharing": "none"}, 28_357_632),
        (PLAIN, 28_357_632),
        ({**PLAIN, "bottleneck": 128}, 7_110_144),
        ({**PLAIN, "towers": ["visual"]}, 9_452_544),
        ({**PLAIN, "towers": ["text"]}, 9_452_544),
        ({**PLAIN, "towers": ["cross"]}, 9_452_544),
        ({**PLAIN, "towers": ["visual", "text"]}, 18_905_088),
        ({**PLAIN, "query_residual": "shared"}, 28_357_632),
        ({**PLAIN, "query_residual": "own"}, 37_810_176),
        ({"textual_branch": False}, 18_908_160),
        ({"layers": "1-4"}, 6_302_720),
        ({"layers": "5-8"}, 6_302_720),
        ({"layers": "5-12"}, 12_605_440),
    ],
)
def test_adapters_of_the_papers_tables(options, adapter):
    counts = counted(**options)
    assert counts["adapter"] == adapter
    assert counts["heads"] == 395_266
    assert counts["temperature"] == 1
    assert counts["trainable"] == adapter + 395_267
    assert counts["backbone"] + counts["trainable"] == counts["total"]


@pytest.mark.parametrize(("rank", "with_norm_before"), [(512, 18_926_592), (128, 4_766_208)])
def test_the_released_variant(rank, with_norm_before):
    counts = counted(bottleneck=rank, variant="released", kv_rank=64)
    assert counts["adapter"] == with_norm_before + 18_432
    assert counts["kv_pair"] == 198_274
    assert counts["trainable"] == counts["adapter"] + 198_274 + 395_267


@pytest.mark.parametrize(
    ("sharing", "adapter"),
    [("down", 39_383_040), ("up", 39_379_968), ("down+up", 34_655_232), ("none", 44_107_776)],
)
def test_beside_a_wider_and_deeper_visual_tower(sharing, adapter):
    config = str(ROOT / "configs/_base_/models/blip_large_retrieval.py")
    assert counted(config, sharing=sharing)["adapter"] == adapter


def test_linear_probe_and_full_fine_tuning():
    probe = count_config(str(ROOT / "configs/linear_probe/msrvtt.py"))
    assert probe["heads"] == 395_266
    assert probe["adapter"] == 0
    assert probe["trainable"] == 395_266 + 1
    full = count_config(str(ROOT / "configs/full_finetune/msrvtt.py"))
    assert full["trainable"] == full["total"] == 223_452_419


def test_nothing_of_the_model_is_allocated():
    counted()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counted(f"{ROOT}/configs/_base_/models/blip_large_retrieval.py")
    # KiB; the model would take 1.9 million of them.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_the_table_shows_shares():
    lines = as_table(counted()).splitlines()
    assert any(line.split() == ["adapter", "18,908,160", "7.80%"] for line in lines)
    assert lines[-1].split() == ["total", "242,360,579", "100.00%"]


def test_the_command_prints_json(capsys):
    arguments = [UNIADAPTER, "--json", "--cfg-options", "model.adapter.bottleneck=128"]
    assert run_script("analysis_tools/count_params.py", *arguments) == 0
    assert json.loads(capsys.readouterr().out) == counted(bottleneck=128)


def test_a_config_typo_names_key_and_remedy():
    with pytest.raises(ValueError, match="model.adapter.bottlneck .* mean 'bottleneck'"):
        counted(bottlneck=4)
    with pytest.raises(ValueError, match="model.adapter.type='UniAdaptr' is not registered"):
        counted(type="UniAdaptr")
    with pytest.raises(FileNotFoundError, match="msrvtt_r51.py does not exist"):
        count_config(UNIADAPTER.replace("r512", "r51"))
    with pytest.raises(ValueError, match="has no key 'model'"):
        count_config(str(ROOT / "configs/_base_/default_runtime.py"))
