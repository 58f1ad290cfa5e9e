"""Measurements: ``python -m bench.<name>``. Ratios within one run, on real parts."""
