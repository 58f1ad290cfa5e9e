"""Sidecars: issues on a project's forge start runs.

``rules`` has the file ``sidecars.toml``: which projects there are, and which issues start what.

An issue becomes an action file, and from there on it is like every other: this package must not
start anything itself.
"""
