"""Temporary servers on the loopback (OpenBao, Nomad, a small forge for issues), and a scene on them.

The demo, the tests and the benchmarks run on these; a dispatcher in service imports none of this.
"""
