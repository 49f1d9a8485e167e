"""Parts of benchmark_train.py: what is run, how it is timed, the rows of the table."""
