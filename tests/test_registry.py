from __future__ import annotations

import subprocess
import sys

import uniadapter.utils
from uniadapter import registry

CODE = """
from mmengine.registry import DefaultScope, HOOKS
from uniadapter.registry import MODELS, REGISTRIES, register_all_modules
register_all_modules(init_scope=False)
assert DefaultScope.get_current_instance() is None
assert all(r._imported for r in REGISTRIES), [r.name for r in REGISTRIES if not r._imported]
assert "RetrievalModel" in MODELS.module_dict
assert HOOKS.get("uniadapter.SafeCheckpointHook") is not None
register_all_modules()
assert DefaultScope.get_current_instance().scope_name == "uniadapter"
"""


def test_all_components_are_registered_by_location():
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_the_hub_finds_the_function_where_it_looks():
    assert uniadapter.utils.register_all_modules is registry.register_all_modules
