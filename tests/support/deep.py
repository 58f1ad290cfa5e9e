"""Directory trees deeper than Python recurses, and than a path can name."""

from __future__ import annotations

import os
from pathlib import Path


def make_deep(path: Path, depth: int) -> None:
    """Make ``path`` and so many directories in each other below it, with a file in the last."""
    path.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd))
    os.close(fd)
