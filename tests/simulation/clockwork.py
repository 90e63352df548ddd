"""
Puts the simulation's clock and chance where the product asks the machine's own.

Most of the product is given its clock. What measures how long itself has been running asks
`time.monotonic`, new ids take the time and `os.urandom`, and the pool that posts to endpoints has
threads: those names are replaced, module by module, while a simulation runs.
"""

from __future__ import annotations

import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import tenacity

import worker.http as calls
from models.tables import base


class InlinePool:
    """A pool of threads without threads: what is asked for is done one after the other."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[[Any], Any], things: list[Any]) -> list[Any]:
        return [work(thing) for thing in things]


@contextmanager
def wound(
    now: Callable[[], datetime], sleep: Callable[[float], None], entropy: Callable[[int], bytes]
) -> Iterator[None]:
    """Replace clocks, sleeps and chances of the product with the simulation's."""

    def seconds() -> float:
        return now().timestamp()

    virtual = SimpleNamespace(
        monotonic=seconds,
        time=seconds,
        perf_counter=time.perf_counter,
        time_ns=lambda: int(now().timestamp() * 1e9),
        sleep=sleep,
    )
    replaced = {
        "time": (time, virtual),
        "ThreadPoolExecutor": (ThreadPoolExecutor, InlinePool),
        "uuid4": (uuid.uuid4, lambda: uuid.UUID(bytes=entropy(16), version=4)),
    }
    before = [
        (module, name, before, after)
        for module in _product_modules()
        for name, (before, after) in replaced.items()
        if module.__dict__.get(name) is before
    ]
    before.append((base, "os", os, SimpleNamespace(urandom=entropy)))
    defaults: dict[str, Any] = calls.call.__kwdefaults__ or {}
    given_sleep = defaults["sleep"]
    state = random.getstate()
    random.seed(int.from_bytes(entropy(8), "big"))  # tenacity's jitter
    defaults["sleep"] = sleep
    for module, name, _, after in before:
        setattr(module, name, after)
    try:
        yield
    finally:
        for module, name, value, _ in before:
            setattr(module, name, value)
        defaults["sleep"] = given_sleep
        random.setstate(state)


def _product_modules() -> list[ModuleType]:
    """List what has been imported of the product, and the library that waits for it."""
    own = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(("worker.", "models.")) and not name.startswith("worker.sandbox")
    ]
    return [*own, tenacity]
