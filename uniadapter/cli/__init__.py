"""The console command ``uniadapter``.

A command is a module of :mod:`uniadapter.cli.commands`. Its docstring says what it is for: the
first line in the list of commands, all of it in front of its ``--help``. Its ``main`` takes the
arguments and returns the exit status. Nothing else has to be told of a new one.
"""
