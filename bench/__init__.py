"""Benchmarks: ``python -m bench.<name>``. Ratios within one run, on real components."""
