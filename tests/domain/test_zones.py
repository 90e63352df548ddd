"""Time zones by every name that calendars use, and by no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tzlocal.windows_tz import win_tz

from models.domain.zones import zone


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("UTC", "Etc/UTC"),
        ("tzone://Microsoft/Utc", "Etc/UTC"),
        ("Pacific Standard Time", "America/Los_Angeles"),
        ("w. europe standard time", "Europe/Berlin"),
        ("India Standard Time", "Asia/Kolkata"),
        ("Central Standard Time (Mexico)", "America/Mexico_City"),
    ],
)
def test_a_zone_is_known_by_its_iana_and_its_windows_name(name: str, key: str) -> None:
    found = zone(name)

    assert found is not None
    assert found.key == key


@pytest.mark.parametrize("name", sorted(win_tz))
def test_every_windows_zone_of_cldr_is_known(name: str) -> None:
    assert zone(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "tzone://Microsoft/Custom",
        "Customized Time Zone",
        "Mars/Phobos",
        "America",
        "../../etc/passwd",
        "/etc/localtime",
        "localtime",
        "Factory",
        "right/UTC",
        "a" * 10000,
        "\x00",
    ],
)
def test_a_custom_or_unknown_zone_is_none(name: str) -> None:
    assert zone(name) is None


@given(st.text(max_size=60))
def test_any_name_is_looked_up_without_a_fault(name: str) -> None:
    zone(name)
