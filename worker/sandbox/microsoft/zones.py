"""
Time zones by the names Graph takes and gives: all of Windows', and only some of IANA's.

Rules of time come from the system's or tzdata's database; Windows' names from CLDR, as tzlocal carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo

from tzlocal.windows_tz import tz_win, win_tz

CUSTOM = "tzone://Microsoft/Custom"  # Source: v1.0 metadata, event.originalStartTimeZone


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone and the name it goes by here; the name may be one that tells nothing, like `CUSTOM`."""

    name: str
    rules: ZoneInfo


UTC_ZONE = Zone("UTC", ZoneInfo("UTC"))


def zone(name: str) -> Zone | None:
    """Return the zone of a name that Graph supports, in any case; None for every other."""
    canonical, iana = _iana_by_name().get(name.strip().lower(), ("", ""))
    return Zone(canonical, ZoneInfo(iana)) if iana else None


def stored_zone(name: str) -> Zone | None:
    """Return the zone under its Windows name, as Exchange keeps it."""
    found = zone(name)
    if found is None:
        return None
    windows = tz_win.get(found.rules.key, found.name)
    return Zone(windows if found.name not in win_tz else found.name, found.rules)


def custom_zone(iana: str) -> Zone:
    """Return a zone whose rules are known here and whose name tells nobody."""
    return Zone(CUSTOM, ZoneInfo(iana))


@cache
def _iana_by_name() -> dict[str, tuple[str, str]]:
    names = {name.lower(): (name, iana) for name, iana in win_tz.items()}
    names |= {name.lower(): (name, name) for name in _LISTED.split()}
    names |= {name.lower(): (name, iana) for name, iana in _RENAMED.items()}
    names["utc"] = ("UTC", "UTC")
    return names


# Source: learn.microsoft.com/graph/api/resources/datetimetimezone. Anything else of IANA's is refused.
_LISTED = """
Etc/GMT+12 Etc/GMT+11 Pacific/Honolulu America/Anchorage America/Santa_Isabel America/Los_Angeles
America/Phoenix America/Chihuahua America/Denver America/Guatemala America/Chicago America/Mexico_City
America/Regina America/Bogota America/New_York America/Indiana/Indianapolis America/Caracas America/Asuncion
America/Halifax America/Cuiaba America/La_Paz America/Santiago America/St_Johns America/Sao_Paulo
America/Argentina/Buenos_Aires America/Cayenne America/Godthab America/Montevideo America/Bahia Etc/GMT+2
Atlantic/Azores Atlantic/Cape_Verde Africa/Casablanca Etc/GMT Europe/London Atlantic/Reykjavik Europe/Berlin
Europe/Budapest Europe/Paris Europe/Warsaw Africa/Lagos Africa/Windhoek Europe/Bucharest Asia/Beirut
Africa/Cairo Asia/Damascus Africa/Johannesburg Europe/Istanbul Asia/Jerusalem Asia/Amman Asia/Baghdad
Europe/Kaliningrad Asia/Riyadh Africa/Nairobi Asia/Tehran Asia/Dubai Asia/Baku Europe/Moscow Indian/Mauritius
Asia/Tbilisi Asia/Yerevan Asia/Kabul Asia/Karachi Asia/Kolkata Asia/Colombo Asia/Kathmandu Asia/Dhaka
Asia/Yekaterinburg Asia/Bangkok Asia/Novosibirsk Asia/Shanghai Asia/Krasnoyarsk Asia/Singapore
Australia/Perth Asia/Taipei Asia/Ulaanbaatar Asia/Irkutsk Asia/Tokyo Asia/Seoul Australia/Adelaide
Australia/Darwin Australia/Brisbane Australia/Sydney Pacific/Port_Moresby Australia/Hobart Asia/Yakutsk
Pacific/Guadalcanal Asia/Vladivostok Pacific/Auckland Etc/GMT-12 Pacific/Fiji Asia/Magadan Pacific/Tongatapu
Pacific/Apia Pacific/Kiritimati
"""

# Listed with two spellings each, of which IANA knows one, or another.
_RENAMED = {
    "Europe/Kyiv": "Europe/Kyiv",
    "Europe/Kiev": "Europe/Kyiv",
    "Asia/Toshkent": "Asia/Tashkent",
    "Asia/Tashkent": "Asia/Tashkent",
    "Asia/Astana": "Asia/Almaty",
    "Asia/Almaty": "Asia/Almaty",
    "Asia/Yangon": "Asia/Yangon",
    "Asia/Rangoon": "Asia/Yangon",
}
