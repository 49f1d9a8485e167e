"""Tests of the package; a package itself, so that tests can import tests.helpers."""
