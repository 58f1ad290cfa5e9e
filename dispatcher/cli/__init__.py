"""The command line: one file per command. Each parses its arguments, calls, and renders; nothing
else.

``root`` names the commands and imports one when it is called; ``edge`` is the one place where
an exception becomes a message and an exit code. What a running ``serve`` answers never comes so far:
``by_serve`` asks it, with ``answers`` at the other end.

This module is imported by the fast path of ``dispatcher.__main__`` and must stay small.
"""

import os

HELP_FILE = os.path.join(os.path.dirname(__file__), "help.txt")  # noqa: PTH118, PTH120
"""The root's help, rendered by ``python -m dispatcher.cli.reference``; a test compares them."""

COMPLETE_VARIABLE = "_DISINTO_COMPLETE"
"""Set by the shell's completion script; the arguments are then click's to handle."""
