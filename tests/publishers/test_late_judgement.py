"""A URL is judged whenever something is posted: one that was let in earlier may not be allowed any more."""

from __future__ import annotations

import pytest

from tests.publishers.test_webhooks import post

PUBLIC = ["8.8.8.8"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://hooks.example.com:2375/hook", "forbidden: port 2375"),
        ("http://hooks.example.com:22/hook", "forbidden: port 22"),
        ("http://127.1/hook", "forbidden: an IPv4 address is four decimal numbers"),
        ("http://localhost/hook", "forbidden: localhost is a name of a private network"),
        ("http://10.0.0.1/hook", "forbidden: 10.0.0.1 is a private address"),
        ("http://user:canary@hooks.example.com/hook", "forbidden: "),
        ("ftp://hooks.example.com/hook", "forbidden: "),
    ],
)
def test_what_would_be_refused_at_creation_is_refused_at_every_post(url: str, reason: str) -> None:
    resolved: list[str] = []

    def resolver(host: str, _port: int) -> list[str]:
        resolved.append(host)
        return PUBLIC

    answer = post(url, allow_private=False, resolver=resolver)

    assert answer.status is None
    assert str(answer.error).startswith(reason)
    assert "canary" not in str(answer.error)
    assert resolved == []  # not even its name is asked for
