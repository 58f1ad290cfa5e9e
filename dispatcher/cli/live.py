"""A line on standard error that changes in place, with a spinner, while something is awaited."""

from __future__ import annotations

import threading

from rich.status import Status

from dispatcher.cli.console import clean, rich_console
from dispatcher.model.progress import Progress, in_words

BAR_CELLS = 20


def bar(progress: Progress) -> str:
    """Progress as a bar with its stage and detail: ``████░░░░ 48 % installing: vim``."""
    words = in_words(progress)
    if progress.percent is None:
        return words
    full = round(progress.percent * BAR_CELLS / 100)
    return f"{'█' * full}{'░' * (BAR_CELLS - full)} {words}"


class Line:
    """One line; safe to use from several threads."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._lock = threading.Lock()

    def show(self, text: str) -> None:
        """Show this text in place of the current one."""
        from rich.text import Text

        shown = Text(clean(text), overflow="ellipsis", no_wrap=True)
        with self._lock:
            if self._status is None:
                self._status = rich_console(stderr=True).status(shown, spinner="dots")
                self._status.start()
            else:
                self._status.update(shown)

    def clear(self) -> None:
        """Clear the line, so that other output can be written."""
        with self._lock:
            if self._status is not None:
                self._status.stop()
                self._status = None
