"""Temporary servers on the loopback (OpenBao, Nomad), and a scene that is set up on them.

The demo, the tests and the benchmarks run on these; a dispatcher in service imports none of this.
"""
