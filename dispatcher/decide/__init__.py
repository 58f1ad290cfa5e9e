"""Decisions as pure functions: facts in, steps out."""
