"""Engines execute runs: ``base`` is the seam, each engine is one directory.

* ``registry``: the engines by name
* ``job_classes``: what the engine in use does not apply of job classes
* ``log``: their logger
"""
