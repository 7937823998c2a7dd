"""Logs: named events with fields, on standard error, for people or as JSON lines."""

import logging
import sys

import structlog

from .settings import Settings

QUIET = ("aiokafka", "faust", "mode", "kafka")
"""Libraries whose own chatter starts at WARNING."""


PARSING_ERRORS = "aiohttp.http_exceptions"
"""The module whose errors quote what could not be parsed."""


def configure(settings: Settings) -> None:
    level = getattr(logging, settings.logging.level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.logging.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr is not None and sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_logger,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.getLogger("aiohttp.server").addFilter(_without_quotes)


def _without_quotes(record: logging.LogRecord) -> bool:
    """That a request was no HTTP is told without its bytes: a body may be among them."""
    kind = record.exc_info[0] if record.exc_info else None
    if kind is not None and kind.__module__ == PARSING_ERRORS:
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {kind.__name__}", (), None
    return True


def _logger(*_: object) -> object:
    """Where a line goes: standard error as it is now, or nowhere when the caller closed it."""
    return structlog.ReturnLogger() if sys.stderr is None else structlog.PrintLogger(sys.stderr)
