"""One module a command, see :mod:`uniadapter.cli`."""
