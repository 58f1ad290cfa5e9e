"""Reads TOML so that every problem names its line and column."""
