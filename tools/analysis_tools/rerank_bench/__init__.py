"""Parts of ``benchmark_rerank.py``: inputs, operations counted, what is measured, the plot."""
