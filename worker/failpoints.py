"""
Named points at every commit and every call to the outside, at which a process can be made to die.

For finding out what a crash leaves behind, and for nothing else: without PUNCTUAL_CRASH_AT and
PUNCTUAL_CRASH_LOG in the environment nothing here is installed and nothing costs anything.

    PUNCTUAL_CRASH_AT=reconciling._Run._intend:after           dies (SIGKILL) at the first pass
    PUNCTUAL_CRASH_AT=recall.create_bot:before:2               … at the second
    PUNCTUAL_CRASH_AT=poster.post:after:pause=120              stands still for two minutes instead
    PUNCTUAL_CRASH_AT=settling.settle:before:1:raise           raises `PlantedError` instead
    PUNCTUAL_CRASH_LOG=/tmp/passed                             appends the name of every point passed

Several are separated by commas. A commit is named after the function whose `with db.begin()` it
ends (`#2` is the second one of a function), a call after the port and what is asked of it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import httpx
import structlog
from sqlalchemy import Engine

from worker import jobs
from worker.errors import ConfigError
from worker.ports import Bell, Poster, Publisher

log = structlog.get_logger(__name__)

CRASH_AT = "PUNCTUAL_CRASH_AT"
CRASH_LOG = "PUNCTUAL_CRASH_LOG"
LONGEST_PAUSE_S = 3600.0

_ROOT = Path(__file__).parent.parent
_OURS = "worker"
_ORDER = re.compile(
    r"(?P<point>[^:,\s]+:(?:before|after))(?::(?P<nth>[1-9]\d{0,5}))?"
    r"(?::(?P<deed>kill|raise|pause=(?P<pause_s>\d{1,4}(?:\.\d{1,3})?)))?",
    re.ASCII,
)
#: Calls to the outside, as `site:before` and `site:after`; those to providers are named by operation.
_CALLS = re.compile(
    r"(?:recall|google|microsoft)\.[a-z_]+|publisher\.publish|poster\.post|receiver\.store", re.ASCII
)

#: Gives a call's site from its arguments.
Naming = Callable[..., str]


class Deed(Enum):
    """What happens at a point."""

    KILL = "kill"
    RAISE = "raise"
    PAUSE = "pause"


class PlantedError(Exception):
    """Raised at a point that was told to raise."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to happen at the *nth* pass of one point."""

    point: str
    nth: int = 1
    deed: Deed = Deed.KILL
    pause_s: float = 0.0


def read_orders(text: str) -> tuple[Order, ...]:
    """Read the value of PUNCTUAL_CRASH_AT; ConfigError when it is malformed or names no point there is."""
    return tuple(_read_order(part.strip()) for part in text.split(",")) if text.strip() else ()


def install(
    *, db: Engine, http: httpx.Client, bell: Bell, poster: Poster, publisher: Publisher | None
) -> None:
    """Put the points around these ports of the process, if the environment asks for it."""
    points = _points()
    if points is None:
        return
    _watch_commits(db, points)
    watch(http, "send", lambda request, **_: request.extensions.get("operation", "http.call"))
    watch(bell, "ring", lambda job, _row_id=None: f"bell.{job}")
    watch(poster, "post", "poster.post")
    if publisher is not None:
        watch(publisher, "publish", "publisher.publish")


def watch(owner: object, method: str, site: str | Naming) -> None:
    """Put the points `site:before` and `site:after` around a method of an object or class, if asked for."""
    points = _points()
    if points is None:
        return
    watched = getattr(owner, method)

    @contextmanager
    def passed(*args: Any, **given: Any) -> Iterator[None]:  # noqa: ANN401  # stands in for any method
        name = site if isinstance(site, str) else site(*args, **given)
        points.reach(f"{name}:before")
        try:
            yield
        finally:
            points.reach(f"{name}:after")

    async def passing_later(*args: Any, **given: Any) -> Any:  # noqa: ANN401  # stands in for any method
        with passed(*args, **given):
            return await watched(*args, **given)

    def passing(*args: Any, **given: Any) -> Any:  # noqa: ANN401  # stands in for any method
        with passed(*args, **given):
            return watched(*args, **given)

    stand_in = passing_later if inspect.iscoroutinefunction(watched) else passing
    setattr(owner, method, functools.wraps(watched)(stand_in))


@functools.cache
def commit_sites() -> Mapping[tuple[str, int], str]:
    """Name every `with ….begin()` of the product by file and line."""
    found: dict[tuple[str, int], str] = {}
    for folder in (_OURS, "webhooks", "models"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            if "sandbox" not in path.parts:
                found |= _sites_in(path)
    return found


class Points:
    """The orders of this process, and how often each point was passed; safe between threads."""

    def __init__(self, orders: Sequence[Order], record: Path | None) -> None:
        self._orders = {order.point: order for order in orders}
        self._passes: Counter[str] = Counter()
        self._lock = threading.Lock()
        # Unbuffered and appending: several processes may share the file, and each may die at once.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._record = None if record is None else os.open(record, flags, 0o600)

    def reach(self, point: str) -> None:
        """Pass a point, or do there what was ordered."""
        if self._record is not None:
            os.write(self._record, f"{point}\n".encode())
        order = self._orders.get(point)
        if order is None:
            return
        with self._lock:
            self._passes[point] += 1
            is_now = self._passes[point] == order.nth
        if is_now:
            _do(order)


def _do(order: Order) -> None:
    match order.deed:
        case Deed.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Deed.PAUSE:
            log.warning("paused_as_ordered", point=order.point, pause_s=order.pause_s)
            time.sleep(order.pause_s)
        case Deed.RAISE:
            msg = f"planted at {order.point}"
            raise PlantedError(msg)


_made: dict[tuple[int, str, str], Points] = {}


def _points() -> Points | None:
    """Return the points of this process, None when the environment asks for none."""
    asked, record = os.environ.get(CRASH_AT, ""), os.environ.get(CRASH_LOG, "")
    if not asked and not record:
        return None
    made_for = (os.getpid(), asked, record)
    if made_for not in _made:
        orders = read_orders(asked)
        _made[made_for] = Points(orders, Path(record) if record else None)
        if orders:
            log.error("crash_armed", setting=CRASH_AT, points=[order.point for order in orders])
    return _made[made_for]


def _read_order(text: str) -> Order:
    read = _ORDER.fullmatch(text)
    if read is None:
        msg = f"{CRASH_AT}: {text!r} is not site:before|after[:nth][:kill|raise|pause=SECONDS]"
        raise ConfigError(msg)
    site, _, _ = read["point"].rpartition(":")
    known = {*commit_sites().values(), *(f"bell.{job}" for job in jobs.JOBS)}
    if site not in known and not _CALLS.fullmatch(site):
        msg = f"{CRASH_AT}: there is no point {site!r}"
        raise ConfigError(msg)
    pause_s = float(read["pause_s"] or 0)
    if pause_s > LONGEST_PAUSE_S:
        msg = f"{CRASH_AT}: nothing pauses for more than {LONGEST_PAUSE_S:.0f} s"
        raise ConfigError(msg)
    deed = Deed((read["deed"] or "kill").partition("=")[0])
    return Order(read["point"], int(read["nth"] or 1), deed, pause_s)


def _watch_commits(db: Engine, points: Points) -> None:
    commit = db.dialect.do_commit

    def do_commit(connection: Any) -> None:  # noqa: ANN401  # a DBAPI connection, as SQLAlchemy hands it on
        site = _site_of(sys._getframe(1))
        points.reach(f"{site}:before")
        commit(connection)
        points.reach(f"{site}:after")

    # There is an event before a commit but none after it; the dialect is this engine's own.
    setattr(db.dialect, "do_commit", do_commit)  # noqa: B010  # mypy refuses to assign to a method


def _site_of(frame: Any) -> str:  # noqa: ANN401  # a frame or None
    sites = commit_sites()
    while frame is not None:
        name = sites.get((frame.f_code.co_filename, frame.f_lineno))
        if name is not None:
            return name
        frame = frame.f_back
    return "elsewhere"


def _sites_in(path: Path) -> dict[tuple[str, int], str]:
    module = ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")
    names: Counter[str] = Counter()
    sites: dict[tuple[str, int], str] = {}

    def walk(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            inside = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}"
            for item in child.items if isinstance(child, ast.With) else []:
                if isinstance(item.context_expr, ast.Call) and _begins(item.context_expr):
                    names[inside] += 1
                    nth = names[inside]
                    name = inside if nth == 1 else f"{inside}#{nth}"
                    sites[str(path), item.context_expr.lineno] = name
            walk(child, inside)

    walk(ast.parse(path.read_text()), module.removeprefix(f"{_OURS}."))
    return sites


def _begins(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "begin"
