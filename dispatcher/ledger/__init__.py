"""Ledgers: ``base`` is the interface; ``sqlite`` and the Nomad engine implement it."""
