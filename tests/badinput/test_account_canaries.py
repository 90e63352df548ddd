"""Accounts are connected, lost and found again, with everything going wrong; no token of theirs shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from sqlalchemy import Engine

from tests.badinput.canaries import Canaries, found_by_place, tables_with
from tests.badinput.overhearing import Overheard
from tests.conftest import empty_tables
from tests.system.accounts import (
    Person,
    Platforms,
    connect,
    connect_and_rest,
    running_platforms,
    running_with,
    soon,
)
from tests.system.rig import Rig, answer, until
from webhooks.pages.connecting import COOKIE

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(400)]

ENV_SECRET, OWN_SECRET = (
    "canary-client-secret-of-the-environment",
    "canary-client-secret-of-a-workspace",
)
PASSCODE = "canaryPasscode4711"
LINK = f"https://zoom.us/j/81234567890?pwd={PASSCODE}"
COMMANDS = (("connections", "list"), ("doctor",), ("drift",), ("calendars", "list"))
LISTINGS = ("/v1/connections", "/v1/oauth-clients", "/v1/calendars", "/v1/deliveries", "/v1/events")


@dataclass
class Story:
    """What was said to whom, for the secrets in it to be looked for."""

    rig: Rig
    platforms: Platforms
    overheard: Overheard
    people: tuple[Person, ...]
    others: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, list[str]] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=dict)

    def canaries(self) -> Canaries:
        return Canaries({**self.overheard.secrets, **self.others})

    def keep(self, response: httpx.Response) -> None:
        """Keep what was answered to something bad."""
        path = response.request.url.path
        place = "/connect" if path.startswith("/connect/") else "/".join(path.split("/")[:3])
        said = response.text + str(response.headers)
        self.refusals.setdefault(place, []).append(said)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine
) -> Iterator[Story]:
    empty_tables(engine)
    overheard = Overheard()
    with ExitStack() as stack:
        platforms = stack.enter_context(running_platforms(overheard.listen))
        for platform in platforms.values():
            platform.app = replace(platform.app, client_secret=ENV_SECRET)
        folder = tmp_path_factory.mktemp("canaries")
        rig = stack.enter_context(running_with(platforms, folder, database_url))
        people = tuple(Person(one, f"anna@{name}.example") for name, one in platforms.items())
        told = Story(rig, platforms, overheard, people)
        told.others |= {
            "passcode": PASSCODE,
            "client secret": ENV_SECRET,
            "own client's secret": OWN_SECRET,
        }
        tell(told)
        yield told


def tell(story: Story) -> None:
    """Connect, read, be refused in every way, lose a consent, get it back, and let go."""
    register_own_client(story)
    for person in story.people:
        person.join()
    connect_and_rest(story.rig, *story.people)
    begin = soon(hours=30)
    events = [person.put(LINK, begin) for person in story.people]
    until(story.rig.live_bots, within=40)
    let_platforms_echo(story, events)
    lose_a_consent(story)
    browse(story)
    say_wrong_things(story)
    look_around(story)


def register_own_client(story: Story) -> None:
    """Have the workspace's own client at Google, which is not used, and change its secret."""
    wanted = {"platform": "google", "client_id": "own-client", "client_secret": OWN_SECRET}
    answer(story.rig.api.post("/v1/oauth-clients", json=wanted))
    answer(story.rig.api.post("/v1/oauth-clients", json={**wanted, "client_secret": OWN_SECRET + "2"}))


def let_platforms_echo(story: Story, events: list[str]) -> None:
    """Let both answer with all they were told, as an API and as a token endpoint, and recover."""
    rig = story.rig
    echoed = " ".join(story.canaries().secrets.values())
    for nth, status in enumerate((500, 400, 401, 403, 429)):
        body = {"error": echoed[:60], "error_description": echoed, "message": echoed}
        for person, event in zip(story.people, events, strict=True):
            fault = {"kind": "status", "status": status, "times": 2, "body": body}
            person.platform.control("POST", "/faults", {**fault, "operation": "events|view|delta"})
            person.platform.control("POST", "/oauth/faults", fault)
            person.platform.control("POST", "/oauth/expire", {})
            person.move(event, soon(hours=31 + nth))
    for person in story.people:
        person.platform.control("DELETE", "/faults")
        person.platform.control("DELETE", "/oauth/faults")
    until(lambda: all(one["status"] == "connected" for one in rig.every("/v1/calendars")), within=60)


def lose_a_consent(story: Story) -> None:
    person = story.people[0]
    person.platform.control("POST", "/oauth/revoke", {"account": person.email})
    person.put("https://meet.google.com/abc-defg-hij", soon(hours=50))
    until(
        lambda: story.rig.every("/v1/connections", email=person.email)[0]["status"] == "needs_reauth",
        within=60,
    )
    connect(story.rig, person)
    until(story.rig.is_quiet, within=40)


def browse(story: Story) -> None:
    """Open links, come back to them in every wrong way, and keep what the browser was told."""
    for person in story.people:
        name = person.platform.name
        link = answer(story.rig.api.post("/v1/connect-links", json={"platform": name}))["url"]
        story.others[f"link at {name}"] = urlsplit(link).path.rpartition("/")[2]
        with httpx.Client(trust_env=False, timeout=10) as browser:
            consent = browser.get(link).headers["location"]
            story.others[f"cookie at {name}"] = browser.cookies[COOKIE]
            back = browser.get(consent).headers["location"]
            for spoilt in (f"{back}&code=twice", back.replace("state=", "state=x")):
                story.keep(browser.get(spoilt))
            browser.cookies.clear()
            story.keep(browser.get(back))  # from somebody else's browser


def say_wrong_things(story: Story) -> None:
    """Put every secret where it does not belong."""
    with httpx.Client(base_url=story.rig.base_url, trust_env=False, timeout=20) as anybody:
        for value in tuple(story.canaries().secrets.values()):
            abuse_api(story, value)
            abuse_pages(story, anybody, value)


def abuse_api(story: Story, value: str) -> None:
    api = story.rig.api
    link = {"platform": "google"}
    for path, body in (
        ("/v1/connect-links", {"platform": value}),
        ("/v1/connect-links", {**link, "return_url": f"javascript:{value}"}),
        ("/v1/connect-links", {**link, "login_hint": [value]}),
        ("/v1/oauth-clients", {**link, "client_id": [value], "client_secret": [value]}),
        ("/v1/oauth-clients", {**link, "client_id": "x", "client_secret": value, "tenant": [value]}),
    ):
        response = api.post(path, json=body)
        assert response.status_code in {400, 413, 422}, response.text
        story.keep(response)
    story.keep(api.get("/v1/connections", params={"cursor": value, "platform": value}))
    story.keep(api.delete(f"/v1/connections/{quote(value, safe='')[:200]}"))


def abuse_pages(story: Story, anybody: httpx.Client, value: str) -> None:
    # A link that is right is opened by its path alone; here each secret comes with one letter more.
    story.keep(anybody.get(f"/connect/{quote(value, safe='')[:300]}x"))
    for platform in story.platforms:
        callback = f"/oauth/{platform}/callback"
        story.keep(anybody.get(callback, params={"state": value, "code": value}))
        story.keep(
            anybody.get(callback, params={"state": "s", "error": value, "error_description": value})
        )
    google = {
        "X-Goog-Channel-ID": value,
        "X-Goog-Channel-Token": value,
        "X-Goog-Resource-State": "exists",
    }
    story.keep(anybody.post("/webhooks/google", headers=google))
    story.keep(anybody.post("/webhooks/microsoft", json={"value": [{"clientState": value}]}))
    story.keep(anybody.post("/webhooks/microsoft", json={"value": value}))


def look_around(story: Story) -> None:
    """Look at every listing and with every command."""
    rig = story.rig
    for path in LISTINGS:
        story.shown[path] = [str(rig.every(path))]
    story.shown["feed"] = [str(one) for one in rig.feed()]
    story.shown["metrics"] = [httpx.get(f"{rig.base_url}/metrics", trust_env=False).text]
    for connection in rig.every("/v1/connections"):
        offered: Any = rig.api.get(f"/v1/connections/{connection['id']}/calendars")
        story.shown[f"offered {connection['platform']}"] = [offered.text]
    for command in COMMANDS:
        story.shown[" ".join(command)] = [rig.start_and_read(*command)]
    for event in rig.every("/v1/events"):
        story.shown.setdefault("why", []).append(rig.start_and_read("why", event["id"]))


@pytest.mark.parametrize(
    "name",
    [
        "access_token",
        "refresh_token",
        "code",
        "code_verifier",
        "state",
        "token",
        "clientState",
        "id_token",
    ],
)
def test_every_kind_of_secret_was_overheard(story: Story, name: str) -> None:
    assert story.overheard.of(name)


def test_no_log_holds_a_secret_of_an_account(story: Story) -> None:
    logs = {
        path.name: path.read_bytes().splitlines()
        for path in story.rig.logs.glob("*.log")
        if path.stem != "sandbox"
    }

    assert any(b"warning" in line for lines in logs.values() for line in lines)
    assert found_by_place(logs, story.canaries(), people_too=False) == {}


def test_a_dump_of_the_database_opens_no_account(story: Story, engine: Engine) -> None:
    assert tables_with(engine, story.canaries()) == {}


def test_no_answer_to_a_bad_request_repeats_a_secret(story: Story) -> None:
    assert {"/connect", "/oauth/google", "/v1/connect-links", "/webhooks/microsoft"} < set(
        story.refusals
    )
    assert found_by_place(story.refusals, story.canaries(), people_too=False) == {}


def test_no_listing_and_no_command_shows_a_secret_of_an_account(story: Story) -> None:
    """Who has a key sees the links of meetings whole (DECISIONS, 7)."""
    secrets = {name: value for name, value in story.canaries().secrets.items() if name != "passcode"}

    assert len(story.shown) >= len(LISTINGS) + len(COMMANDS) + 2
    assert found_by_place(story.shown, Canaries(secrets), people_too=False) == {}


def test_no_process_shows_a_secret_of_an_account_to_the_others_on_its_machine(story: Story) -> None:
    lines = {
        name: [Path(f"/proc/{process.pid}/cmdline").read_bytes()]
        for name, process in story.rig.processes.items()
    }

    assert found_by_place(lines, story.canaries(), people_too=False) == {}
