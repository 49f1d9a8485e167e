"""Retrieval of real pictures on towers that others trained; parts of real_retrieval.py."""
