"""Decisions. Pure: facts in, what to do out."""
