"""Parts of run.py: the rows of the paper's tables on the embedded data, run and shown."""
