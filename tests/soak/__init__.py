"""A soak: real ``serve``, real runs, real OpenBao and a real remote, while everything that can die
dies at random and somebody hostile pushes; then an audit of what happened.

``python -m tests.soak --help``; ``make soak``. ``tests/acceptance/test_soak.py`` is a short one.
"""
