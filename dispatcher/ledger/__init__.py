"""Ledgers: ``base`` is the seam, ``sqlite`` and ``nomad`` implement it."""
