"""Loggers of the engines. structlog is loaded by the first entry: importing it takes longer than
everything else that ``plan`` and ``logs`` load of an engine, and they hardly ever log.
"""

from __future__ import annotations

from typing import Any


class LazyLogger:
    """A structlog logger that is created when first used.

    Args:
        name: of the logger, such as ``disinto.local``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def warning(self, event: str, **facts: object) -> None:
        """Log a failure that the engine recovers from."""
        self._logger().warning(event, **facts)

    def error(self, event: str, **facts: object) -> None:
        """Log a failure; ``exc_info`` takes the exception."""
        self._logger().error(event, **facts)

    def exception(self, event: str, **facts: object) -> None:
        """Log a failure with the exception that is being handled."""
        self._logger().exception(event, **facts)

    def _logger(self) -> Any:
        import structlog

        return structlog.get_logger(self._name)
