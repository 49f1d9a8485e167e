"""Parts of ``compare_transformers.py``: the same model in transformers, two rows, their profile."""
