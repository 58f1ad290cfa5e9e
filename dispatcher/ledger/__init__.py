"""Ledgers: ``base`` is the interface; ``sqlite`` and the Nomad engine implement it. ``codec`` is the format
of a claim in both.
"""
