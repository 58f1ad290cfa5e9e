"""This machine: files, processes and their permissions."""
