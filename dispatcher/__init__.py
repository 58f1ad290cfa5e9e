"""Disinto dispatcher: a file merged into a git repository becomes exactly one run."""

__version__ = "0.1.0"
