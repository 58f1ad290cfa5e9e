"""Prints ``docs/attacks.md``."""

from __future__ import annotations

import sys

from tests.attacks.table import page

if __name__ == "__main__":
    sys.stdout.write(page())
