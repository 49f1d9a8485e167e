"""The plain way to match texts with media and to train it, for comparison only.

A pair has its own copy of the visual tokens, keys and values are projected anew for every pair in
every layer, attention is a product, a softmax and a product, texts are padded to one length, each
direction scores its own shortlists, the momentum model is a full copy. It computes on the modules
of a :class:`uniadapter.models.tasks.RetrievalModel`, so both give the same numbers, which
``tests/test_tools/test_naive_reference.py`` checks.
"""

from .evaluation import evaluate
from .model import NaiveModel
from .training import NaiveRetrieval

__all__ = ["NaiveModel", "NaiveRetrieval", "evaluate"]
