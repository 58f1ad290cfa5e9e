"""The demo: the main job, live, with real parts, on one machine and without any set-up.

Its scene (a real OpenBao, a real git remote, settings, keys) also serves the tests and the bench.
"""
