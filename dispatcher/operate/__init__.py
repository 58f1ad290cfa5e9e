"""The commands' logic. ``dispatcher.cli`` parses, calls and prints."""
