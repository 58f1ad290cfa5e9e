"""What the commands do. ``dispatcher.cli`` parses, calls and prints."""
