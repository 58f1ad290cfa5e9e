"""Throwaway servers on the loopback (OpenBao, Nomad), and a scene that is set up on them.

The demo, the tests and the benches run on these; nothing of a dispatcher in service imports them.
"""
