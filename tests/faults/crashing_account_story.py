"""
Chapters of the story about accounts that users have connected: their meetings, tokens, channels, cursors.

As all chapters: what comes before the first `yield` is preparation; at each one everything known is
acted on. `POINTS` are the commits and calls that these chapters have to pass between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.faults.crashing import Stage
from tests.faults.crashing_accounts import PLATFORMS
from tests.faults.dying import RECEIVER, WORKER

Chapter = Callable[[Stage], Iterator[None]]


def a_user_connects(stage: Stage, platform: str) -> Iterator[None]:
    email = stage.owner(platform)
    yield
    stage.connect(platform, email)
    meeting = stage.put(platform, owner=email)
    yield
    stage.call("DELETE", f"/v1/connections/{stage.connection(email)}")
    stage.forget(meeting)
    yield


def a_user_connects_and_recall_reads(stage: Stage) -> Iterator[None]:
    email = stage.owner("google")
    yield
    stage.connect("google", email, via="recall")
    yield


def a_meeting_of_an_account_comes_moves_and_goes(stage: Stage, platform: str) -> Iterator[None]:
    yield
    meeting = stage.put(platform)
    yield
    stage.move(meeting)
    yield
    stage.delete(meeting)
    yield


def a_series_of_an_account_comes_and_goes(stage: Stage, platform: str) -> Iterator[None]:
    yield
    series, *others = stage.put_series(platform)
    yield
    stage.delete(series)
    stage.forget(*others)
    yield


def an_account_shares_a_meeting_with_recall(stage: Stage, platform: str) -> Iterator[None]:
    meeting = stage.meeting(stage.people[0])
    yield
    copy = stage.put(platform, like=meeting)
    yield
    stage.delete(meeting)
    yield
    stage.delete(copy)
    yield


def the_tokens_of_an_account_end(stage: Stage, platform: str) -> Iterator[None]:
    meeting = stage.put(platform)
    yield
    stage.end_tokens(platform, known=True)
    stage.move(meeting)
    yield
    stage.end_tokens(platform, known=False)
    stage.move(meeting)
    yield


def a_consent_of_an_account_is_taken_back_and_given_again(
    stage: Stage, platform: str
) -> Iterator[None]:
    meeting = stage.put(platform)
    yield
    stage.take_back(platform)
    stage.let_channels_age(platform)
    stage.look_at(platform)
    yield
    stage.let_time_pass()
    yield
    stage.let_time_pass()
    yield
    stage.move(meeting)
    stage.connect(platform, stage.owners[platform])
    yield


def the_channels_of_an_account_age(stage: Stage, platform: str) -> Iterator[None]:
    yield
    stage.let_channels_age(platform)
    yield
    stage.put(platform)
    yield


def the_channels_of_an_account_vanish(stage: Stage, platform: str) -> Iterator[None]:
    yield
    stage.lose_channels(platform)
    stage.put(platform)
    stage.let_channels_age(platform)
    yield
    stage.look_at(platform)
    yield


def a_channel_of_an_account_opens_and_nobody_hears_of_it(stage: Stage) -> Iterator[None]:
    """At Google alone: there the id of a channel is ours, and taken when it is asked for again."""
    yield
    stage.lose_answer("google", r"events\.watch")
    stage.let_channels_age("google")
    stage.put("google")
    yield
    stage.let_time_pass()
    yield


def an_account_forgets_where_we_were(stage: Stage, platform: str) -> Iterator[None]:
    meeting = stage.put(platform)
    yield
    stage.forget_cursors(platform)
    with stage.keeping_quiet(platform):
        stage.move(meeting)
        stage.put(platform)
    stage.look_at(platform)
    yield


def an_account_chooses_its_calendars(stage: Stage, platform: str) -> Iterator[None]:
    email = stage.owners[platform]
    own = stage.primary(platform, email)
    team = stage.add_calendar(platform, email)
    yield
    stage.call("GET", f"/v1/connections/{stage.connection(email)}/calendars")
    stage.choose(email, own, team)
    meeting = stage.put(platform, calendar=team)
    yield
    stage.remove_calendar(platform, team)
    stage.oracle.copies.pop(meeting)
    stage.look_at(platform)
    yield
    stage.choose(email, own)
    yield


def an_operator_looks_after_accounts(stage: Stage) -> Iterator[None]:
    client = {"platform": "google", "client_id": "another", "client_secret": "secret"}
    yield
    made = stage.call("POST", "/v1/oauth-clients", client)
    stage.call("GET", "/v1/oauth-clients")
    stage.call("DELETE", f"/v1/oauth-clients/{made['id']}")
    for platform in PLATFORMS:
        stage.call("GET", f"/v1/connections/{stage.connection(stage.owners[platform])}")
    yield


def _at(chapter: Callable[[Stage, str], Iterator[None]], platform: str) -> Chapter:
    return lambda stage: chapter(stage, platform)


def _on_each(chapter: Callable[[Stage, str], Iterator[None]]) -> dict[str, Chapter]:
    return {f"{chapter.__name__}_at_{platform}": _at(chapter, platform) for platform in PLATFORMS}


CHAPTERS: dict[str, Chapter] = {
    **_on_each(a_user_connects),
    a_user_connects_and_recall_reads.__name__: a_user_connects_and_recall_reads,
    **_on_each(a_meeting_of_an_account_comes_moves_and_goes),
    **_on_each(a_series_of_an_account_comes_and_goes),
    **_on_each(an_account_shares_a_meeting_with_recall),
    **_on_each(the_tokens_of_an_account_end),
    **_on_each(a_consent_of_an_account_is_taken_back_and_given_again),
    **_on_each(the_channels_of_an_account_age),
    **_on_each(the_channels_of_an_account_vanish),
    a_channel_of_an_account_opens_and_nobody_hears_of_it.__name__: (
        a_channel_of_an_account_opens_and_nobody_hears_of_it
    ),
    **_on_each(an_account_forgets_where_we_were),
    **_on_each(an_account_chooses_its_calendars),
    an_operator_looks_after_accounts.__name__: an_operator_looks_after_accounts,
}

_BOTH = ("get_account", "list_calendars", "redeem_code")
_IN_WORK = ("refresh", "list_events", "list_changes", "list_series", "open_channel", "close_channel")
#: Every commit of connected accounts, and every call to their providers, by who makes it.
POINTS: dict[str, frozenset[str]] = {
    RECEIVER: frozenset({
        "connections._give_back", "connections._stop_channels", "connections.choose_calendars",
        "connections.choose_calendars#2", "connections.offered_calendars",
        "connections.offered_calendars#2", "connections.remove_connection",
        "connections.remove_connection#2", "connections.remove_connection#3",
        "connections.remove_connection#4", "consenting._connect_directly", "consenting._hand_to_recall",
        "consenting.connect_account", "linking.come_back", "linking.make_link", "linking.set_out",
        "webhooks.api.connections.forget_oauth_client", "webhooks.api.connections.get_connection",
        "webhooks.api.connections.list_connections", "webhooks.api.connections.list_oauth_clients",
        "webhooks.api.connections.register_oauth_client", "google.revoke",
        *(f"{platform}.{call}" for platform in PLATFORMS for call in _BOTH),
    }),
    WORKER: frozenset({
        "channels._finish", "channels._keep", "channels._open", "channels._open#2", "channels._renew",
        "channels._stop", "syncing.direct._apply", "syncing.direct._apply#2", "syncing.direct._begin",
        "syncing.direct._finish", "syncing.direct._leave", "syncing.direct._note_gone",
        "syncing.direct._read", "syncing.direct._read#2", "syncing.direct.read_directly",
        "syncing.direct._read_with_fresh_tokens", "syncing.direct._read_with_fresh_tokens#2",
        "tokens._app_of", "tokens._finish", "tokens._is_put_off", "tokens._read", "tokens._store_surely",
        "tokens._take_refusal", "tokens.lose", "tokens.refresh", "tokens.refuse",
        "upkeep.Upkeep._poll", "upkeep.Upkeep._poll#2",
        "microsoft.begin_changes", "microsoft.get_event", "microsoft.renew_channel",
        *(f"{platform}.{call}" for platform in PLATFORMS for call in _IN_WORK),
    }),
}  # fmt: skip
