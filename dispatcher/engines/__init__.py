"""Engines execute runs: ``base`` is the seam, each engine is one directory."""
