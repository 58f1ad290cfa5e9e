"""Attacks on the dispatcher, by attacker: the rows in TOML, and the scenes of those on approval."""
