"""Schedulers: ``base`` is the seam, ``local`` and ``nomad`` implement it."""
