from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.microsoft.driving import Endpoint, Graph, Person, Remote, listening, serving


@pytest.fixture
def graph() -> Graph:
    return Graph()


@pytest.fixture
def anna(graph: Graph) -> Person:
    return graph.person("anna@corp.example", name="Anna Ash")


@pytest.fixture
def ben(graph: Graph) -> Person:
    return graph.person("ben@corp.example", name="Ben Birch")


@pytest.fixture(scope="session")
def _endpoint() -> Iterator[Endpoint]:
    with listening() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def _remote() -> Iterator[Remote]:
    with serving() as remote:
        yield remote


@pytest.fixture
def endpoint(_endpoint: Endpoint) -> Endpoint:
    _endpoint.forget()
    return _endpoint


@pytest.fixture
def remote(_remote: Remote) -> Remote:
    _remote.begin()
    return _remote
