"""A tree of processes, from the inside."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from worker.processes import ProcessTree


@pytest.fixture
def own_handler() -> Iterator[signal.Handlers]:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield signal.SIG_IGN
    signal.signal(signal.SIGTERM, before)


def test_a_tree_that_is_told_to_stop_gives_the_signals_back(own_handler: signal.Handlers) -> None:
    tree = ProcessTree([])
    threading.Timer(0.1, tree.stop).start()

    code = tree.run()

    assert code == 0
    assert tree.is_stopping()
    assert signal.getsignal(signal.SIGTERM) is own_handler


def test_a_signal_stops_a_tree(own_handler: signal.Handlers) -> None:
    tree = ProcessTree([])
    threading.Timer(0.1, signal.raise_signal, [signal.SIGTERM]).start()

    assert tree.run() == 0
