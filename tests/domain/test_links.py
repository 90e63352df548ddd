"""Meeting links: every spelling of a meeting is one link, and nothing else is a link."""

from __future__ import annotations

import base64
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.domain.links import PLATFORMS, canonical, find_link, redacted, vouched

CONTEXT = '{"Tid":"72f988bf-86f1-41af-91ab-2d7cd011db47","Oid":"0a1b2c3d-0000-4000-8000-00000000000a"}'
THREAD = "19:meeting_NjQ4ZmI0@thread.v2"
LONG_TEAMS = f"https://teams.microsoft.com/l/meetup-join/{quote(THREAD)}/0?context={quote(CONTEXT)}"
TEAMS_KEY = (
    f"microsoft_teams:{THREAD}/0/72f988bf-86f1-41af-91ab-2d7cd011db47/"
    "0a1b2c3d-0000-4000-8000-00000000000a"
)
COORDS = base64.b64encode(
    (
        f'{{"conversationId":"{THREAD}","tenantId":"72f988bf-86f1-41af-91ab-2d7cd011db47",'
        '"organizerId":"0a1b2c3d-0000-4000-8000-00000000000a","messageId":"0"}'
    ).encode()
).decode()
LAUNCHER = "https://teams.microsoft.com/dl/launcher/launcher.html"
ROUTE = f"/_#/l/meetup-join/{quote(THREAD)}/0?context={quote(CONTEXT)}"

MEETINGS = [
    ("https://zoom.us/j/81234567890", "zoom:81234567890"),
    ("https://us02web.zoom.us/j/81234567890?pwd=Abc.1", "zoom:81234567890"),
    ("https://acme.zoom.us/w/81234567890?tk=tok", "zoom:81234567890"),
    ("https://acme.zoom.us/s/81234567890", "zoom:81234567890"),
    ("https://zoom.us/wc/81234567890/join", "zoom:81234567890"),
    ("https://app.zoom.us/wc/join/81234567890", "zoom:81234567890"),
    ("https://zoom.com/j/812-3456-7890", "zoom:81234567890"),
    ("https://acme.zoom-x.de/j/81234567890", "zoom:81234567890"),
    ("zoommtg://zoom.us/join?action=join&confno=81234567890&pwd=a", "zoom:81234567890"),
    ("https://acme.zoomgov.com/j/81234567890", "zoom:gov/81234567890"),
    ("https://us02web.zoom.us/my/Anna.B", "zoom:my/anna.b"),
    ("https://acme.zoom.us/my/anna", "zoom:acme.zoom.us/my/anna"),
    ("https://acme.zoom.us/webinar/register/WN_abc-D", "zoom:register/WN_abc-D"),
    ("https://meet.google.com/abc-defg-hij", "google_meet:abc-defg-hij"),
    ("https://meet.google.com/_meet/ABC-DEFG-HIJ?authuser=1&hs=122", "google_meet:abc-defg-hij"),
    ("https://meet.google.com/lookup/abcd123", "google_meet:lookup/abcd123"),
    (LONG_TEAMS, TEAMS_KEY),
    (LONG_TEAMS.replace("19%3A", "19:").replace("%40", "@"), TEAMS_KEY),
    (LONG_TEAMS.replace("%3A", "%3a").replace("%22", '"'), TEAMS_KEY),
    (LONG_TEAMS.replace("72f988bf", "72F988BF") + "&anon=true", TEAMS_KEY),
    (f"https://teams.microsoft.com/v2/?meetingjoin=true#{ROUTE[3:]}&deeplinkId=1", TEAMS_KEY),
    (f"{LAUNCHER}?url={quote(ROUTE, safe='')}&type=meetup-join&directDl=true", TEAMS_KEY),
    (
        f"https://teams.microsoft.com/light-meetings/launch?agent=web&coords={COORDS}",
        TEAMS_KEY,
    ),
    ("https://teams.microsoft.com/meet/2345678901234?p=Abc", "microsoft_teams:meet/2345678901234"),
    ("https://gov.teams.microsoft.us/meet/23456?p=Abc", "microsoft_teams:meet/23456"),
    ("https://teams.microsoft.com/_#/meet/23456?p=Abc", "microsoft_teams:meet/23456"),
    ("https://teams.live.com/meet/9312345678901", "microsoft_teams:meet/9312345678901"),
    ("https://acme.webex.com/meet/anna.b", "webex:acme.webex.com/anna.b"),
    ("https://acme.webex.com/join/Anna.B", "webex:acme.webex.com/anna.b"),
    ("https://acme.webex.com/acme-en/j.php?MTID=m0123abc", "webex:mtid/m0123abc"),
    (
        "https://acme.webex.com/webappng/sites/acme/meeting/download/0123456789abcdef0123?x=1",
        "webex:id/0123456789abcdef0123",
    ),
    (
        "https://acme.webex.com/wbxmjs/joinservice/sites/acme/meeting/download/0123456789abcdef0123",
        "webex:id/0123456789abcdef0123",
    ),
    ("https://global.gotomeeting.com/join/123456789", "goto_meeting:123456789"),
    ("https://meet.goto.com/123456789", "goto_meeting:123456789"),
    ("https://app.goto.com/meet/123456789", "goto_meeting:123456789"),
    ("https://app.gotomeeting.com/?meetingId=123456789", "goto_meeting:123456789"),
    ("https://www.gotomeet.me/Anna", "goto_meeting:anna"),
    ("https://app.slack.com/huddle/T0AB/C0CD", "slack_huddle:T0AB/C0CD"),
    ("https://chime.aws/1234567890", "chime:1234567890"),
    ("https://app.chime.aws/meetings/1234567890", "chime:1234567890"),
    ("https://whereby.com/acme-standup", "whereby:whereby.com/acme-standup"),
    ("https://acme.whereby.com/standup", "whereby:acme.whereby.com/standup"),
    ("https://meet.jit.si/OurRoom#config.prejoin=false", "jitsi:meet.jit.si/ourroom"),
    ("https://8x8.vc/acme/room", "jitsi:8x8.vc/acme/room"),
    ("https://v.ringcentral.com/join/123456789?pw=abc", "ringcentral:123456789"),
    ("https://meetings.ringcentral.com/j/123456789", "ringcentral:123456789"),
    ("https://vc.larksuite.com/j/123456789", "lark:lark/123456789"),
    ("https://vc.feishu.cn/j/123456789", "lark:feishu/123456789"),
    ("https://bluejeans.com/123456789/1234?src=cal", "bluejeans:123456789"),
]

NO_MEETINGS = [
    "",
    "https://",
    "https://zoom.us",
    "https://zoom.us/pricing",
    "https://zoom.us/u/abcd",
    "https://zoom.us/rec/share/81234567890",
    "https://zoom.us.evil.com/j/81234567890",
    "https://zoom.us@evil.com/j/81234567890",
    "https://anna:secret@zoom.us/j/81234567890",
    "https://evil.com/zoom.us/j/81234567890",
    "https://evilzoom.us/j/81234567890",
    "https://zoom.us%2eevil.com/j/81234567890",
    "https://zoom.us\\@evil.com/j/81234567890",
    "https://zооm.us/j/81234567890",  # Cyrillic
    "https://zoom.us:8443/j/81234567890",
    "https://zoom.us/my/..",
    "https://zoom.us/my/..?pwd=x",
    "https://zoom.us/my/%2E%2E?pwd=x",
    "https://zoom.us/my/https:%2F%2Fevil.com",
    "https://zoom.us/j/81234567890\r\nHost: evil.com",
    "https://zoom.us/j/81234567890 https://evil.com",
    "https://zoom.us/j/" + "1" * 20_000,
    "javascript:alert(1)",
    "javascript://zoom.us/j/81234567890",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "https://meet.google.com/new",
    "https://meet.google.com/abc-defg-hij/extra",
    "https://stream.meet.google.com/stream/abc",
    "https://teams.microsoft.com/l/meeting/new?subject=x",
    "https://teams.microsoft.com/meet/2345678901234",
    "https://teams.microsoft.com/meetingOptions/?threadId=19_meeting_x",
    "https://teams.microsoft.com/l/meetup-join/",
    "https://teams.microsoft.com/l/meetup-join/19:x%2F..%2F/0",
    "https://teams.microsoft.com/light-meetings/launch?coords=%%%",
    "https://help.webex.com/article/x",
    "https://acme.webex.com/acme/j.php",
    "https://whereby.com/information",
    "https://app.slack.com/client/T0AB/C0CD",
    "https://docs.google.com/document/d/abc",
    "https://www.google.com/url?q=https://evil.com",
    "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fevil.com",
    "https://urldefense.com/v3/__https://zoom.us/j/*__;!!x$",
    "https://zoom.us/j/\ud800",
]

WRAPPINGS = [
    "https://eur01.safelinks.protection.outlook.com/?url={quoted}&data=05%7C02&reserved=0",
    "https://nam12.safelinks.protection.outlook.com/ap/t-59584e83/?url={quoted}&data=05",
    "https://statics.teams.cdn.office.net/evergreen-assets/safelinks/1/atp-safelinks.html?url={quoted}",
    "https://www.google.com/url?q={quoted}&sa=D&source=calendar",
    "https://www.google.co.uk/url?sa=t&url={quoted}",
    "https://slack-redir.net/link?url={quoted}",
    "https://urldefense.com/v3/__{url}__;!!abc$",
    "{quoted}",
]


@pytest.mark.parametrize(("url", "key"), MEETINGS)
def test_every_spelling_of_a_meeting_has_its_key(url: str, key: str) -> None:
    link = canonical(url)

    assert link is not None
    assert link.key == key
    assert key.startswith(link.platform + ":")
    assert link.url.startswith("https://")


def test_a_name_that_ends_in_a_dot_is_told_from_one_that_ends_a_sentence() -> None:
    of_a_name = canonical("https://zoom.us/my/anna.?pwd=a")
    of_a_sentence = canonical("https://zoom.us/my/anna.")

    assert of_a_name is not None
    assert of_a_name.key == "zoom:my/anna."
    assert of_a_sentence is not None
    assert of_a_sentence.key == "zoom:my/anna"


def test_every_platform_has_an_example() -> None:
    assert {key.partition(":")[0] for _, key in MEETINGS} == PLATFORMS


@pytest.mark.parametrize(("url", "key"), MEETINGS)
def test_a_canonical_link_stays_as_it_is(url: str, key: str) -> None:
    link = canonical(url)
    assert link is not None

    assert canonical(link.url) == link


@pytest.mark.parametrize("url", NO_MEETINGS)
def test_what_is_not_certainly_a_meeting_is_no_link(url: str) -> None:
    assert canonical(url) is None


def test_a_hostile_place_never_leaves_the_platform() -> None:
    link = find_link(["https://zoom.us/j/81234567890?pwd=https://evil.com&next=//evil.com#evil"])

    assert link is not None
    assert link.url == "https://zoom.us/j/81234567890"


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("url", ["https://zoom.us/j/812?pwd=a.1", LONG_TEAMS])
def test_a_wrapped_link_is_the_link(wrapping: str, url: str) -> None:
    wrapped = wrapping.format(url=url, quoted=quote(url, safe=""))

    assert canonical(wrapped) == canonical(url)


def test_proofpoints_second_way_is_undone() -> None:
    link = canonical(
        "https://urldefense.proofpoint.com/v2/url?u=https-3A__zoom.us_j_812-3Fpwd-3Da-2E1&d=DwMFaQ&c=x"
    )

    assert link is not None
    assert link.url == "https://zoom.us/j/812?pwd=a.1"


def test_proofpoints_third_way_gives_back_the_characters_it_took_out() -> None:
    one_by_one = "https://urldefense.com/v3/__https:/zoom.us/j/812*pwd=a*tk=b__;PyY!!x$"  # ? and &
    in_a_run = "https://urldefense.com/v3/__https://zoom.us/j/**B__;ODEy!!x$"  # B: three, 812
    too_few = "https://urldefense.com/v3/__https://zoom.us/j/**C__;ODEy!!x$"

    assert canonical(one_by_one) == canonical("https://zoom.us/j/812?pwd=a&tk=b")
    assert canonical(in_a_run) == canonical("https://zoom.us/j/812")
    assert canonical(too_few) is None


def test_wrappings_are_taken_off_five_times_and_no_more() -> None:
    url = "https://zoom.us/j/812"
    for _ in range(5):
        url = "https://slack-redir.net/link?url=" + quote(url, safe="")

    assert canonical(url) == canonical("https://zoom.us/j/812")
    assert canonical("https://slack-redir.net/link?url=" + quote(url, safe="")) is None


def test_a_wrapping_that_wraps_itself_ends() -> None:
    assert canonical("https://www.google.com/url?q=https://www.google.com/url") is None


def test_the_passcode_is_in_the_link_and_not_in_the_key() -> None:
    link = canonical("HTTPS://US02WEB.ZOOM.US/j/812?utm_source=x&tk=t&pwd=a.1#success")

    assert link is not None
    assert link.url == "https://us02web.zoom.us/j/812?pwd=a.1&tk=t"
    assert link.key == "zoom:812"


@pytest.mark.parametrize(
    "text",
    [
        "https://zoom.us/j/812.",
        "Join (https://zoom.us/j/812)",
        "Join <https://zoom.us/j/812>, please",
        "[zoom](https://zoom.us/j/812)",
        "zoom.us/j/812",
        "Zoom:https://zoom.us/j/812;",
        "<p>Join&nbsp;https://zoom.us/j/812<br>or call",
        "&lt;https://zoom.us/j/812&gt;",
        '<a href="https://zoom.us/j/812">Join</a>',
        "<A HREF = 'https://zoom.us/j/812'>https://evil.com</A>",
        "https://zoom.us/j/812\u200b",
        "https://example.com/agenda https://zoom.us/j/812",
    ],
)
def test_a_link_is_found_in_what_people_write(text: str) -> None:
    link = find_link([text])

    assert link is not None
    assert link.url == "https://zoom.us/j/812"


@pytest.mark.parametrize(
    "text",
    ["", "zoom", "anna@zoom.us/j/1", "https://evil.com/?u=https://zoom.us/j/812", "\0\ud800"],
)
def test_text_without_a_link_has_none(text: str) -> None:
    assert find_link([text]) is None


def test_entities_of_html_do_not_cut_a_link() -> None:
    link = find_link(['<a href="https://zoom.us/j/812?a=1&amp;gtm=2&gtx=3&amp;pwd=x">'])

    assert link is not None
    assert link.url.endswith("?pwd=x")


def test_the_first_text_with_a_link_names_the_meeting() -> None:
    link = find_link(["Room 4", "https://zoom.us/j/812", "https://meet.google.com/abc-defg-hij"])

    assert link is not None
    assert link.platform == "zoom"


def test_a_copy_of_the_same_link_with_its_passcode_is_preferred() -> None:
    link = find_link(
        ["https://zoom.us/j/812", "https://zoom.us/j/999?pwd=b https://acme.zoom.us/j/812?pwd=a"]
    )

    assert link is not None
    assert link.url == "https://acme.zoom.us/j/812?pwd=a"


def test_the_link_of_an_href_comes_before_what_is_written() -> None:
    link = find_link(['https://zoom.us/j/1 <a href="https://zoom.us/j/2">join</a>'])

    assert link is not None
    assert link.key == "zoom:2"


def test_a_long_text_is_read_at_both_ends() -> None:
    filler = "lorem ipsum " * 20_000

    assert find_link([f"https://zoom.us/j/812 {filler}"]) is not None
    assert find_link([f"{filler} https://zoom.us/j/812"]) is not None


@pytest.mark.parametrize("shift", range(0, 40, 3))
def test_a_long_text_never_yields_half_a_link(shift: int) -> None:
    url = "https://zoom.us/j/81234567890"
    text = "x " * (16 * 1024 - 20) + "y" * shift + f" {url} " + "z " * 100_000

    link = find_link([text])

    assert link is None or link.key == "zoom:81234567890"


@pytest.mark.parametrize(
    "piece",
    [
        "https://",
        'href="',
        "<a href='",
        "a.",
        "%25",
        "&amp;",
        "zoom.us/j/x ",
        "https://a.b ",
        "https://zoom.us/j/",
        "https://www.google.com/url?q=",
        "https%3A%2F%2F",
        "https://urldefense.com/v3/__*",
        "https://urldefense.com/v3/__* ",
        "?pwd=",
        "%3fpwd",
        "https://teams.microsoft.com/light-meetings/launch?coords=e30 ",
        '"Tid" : ',
        "&#1;",
        " ",
    ],
)
def test_200_kilobytes_of_spite_take_no_time(piece: str) -> None:
    text = (piece * (200_000 // len(piece) + 1))[:200_000]
    began = time.perf_counter()

    find_link([text])
    canonical(text)
    redacted(text)

    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://zoom.us/j/812?pwd=a.1&tk=t", "https://zoom.us/j/812?pwd=***&tk=***"),
        ("https://teams.microsoft.com/meet/1?p=A", "https://teams.microsoft.com/meet/1?p=***"),
        ("https://x.test/?a=1&amp;PassCode=9#x", "https://x.test/?a=1&amp;PassCode=***#x"),
        (
            "https://x.test/?url=https%3A%2F%2Fz%3Fpwd%3Da%26b%3D1",
            "https://x.test/?url=https%3A%2F%2Fz%3Fpwd%3D***%26b%3D1",
        ),
        ("https://anna:pw@x.test/", "https://***@x.test/"),
        ("https://bluejeans.com/123/456", "https://bluejeans.com/123/***"),
        (LONG_TEAMS, LONG_TEAMS),
        ("", ""),
    ],
)
def test_a_redacted_link_keeps_everything_but_passcodes(url: str, safe: str) -> None:
    assert redacted(url) == safe


URLS = st.builds(
    lambda scheme, host, path, query, fragment: f"{scheme}{host}{path}{query}{fragment}",
    st.sampled_from(["https://", "http://", "HTTPS://", "zoommtg://", ""]),
    st.sampled_from(
        [
            "zoom.us",
            "acme.zoom.us",
            "teams.microsoft.com",
            "teams.live.com",
            "acme.webex.com",
            "meet.google.com",
            "meet.goto.com",
            "whereby.com",
            "meet.jit.si",
            "8x8.vc",
            "bluejeans.com",
            "www.google.com",
            "urldefense.com",
            "chime.aws",
            "zoom.us.evil.com",
        ]
    ),
    st.one_of(
        st.sampled_from(["/j/812", "/my/a", "/meet/123456", "/l/meetup-join/19:a@thread.v2/0"]),
        st.text("/abcjmywz019-_.%2F3ü*", max_size=30).map("/".__add__),
    ),
    st.one_of(st.just(""), st.text("?&=pwdtkcontex%7B22:/.a1+", max_size=40).map("?".__add__)),
    st.one_of(st.just(""), st.text("#/lmeetup-join?p=1%", max_size=30).map("#".__add__)),
)


@given(URLS)
def test_reading_a_canonical_link_again_changes_nothing(url: str) -> None:
    link = canonical(url)

    assert link is None or canonical(link.url) == link


@given(st.lists(st.one_of(st.text(max_size=300), URLS), max_size=4))
def test_any_text_is_searched_without_a_fault(texts: list[str]) -> None:
    link = find_link(texts)

    assert link is None or (link.platform in PLATFORMS and len(link.url) <= 2_000)
    assert link is None or "://" not in link.url[len("https://") :]


@given(URLS)
def test_a_redacted_link_can_be_redacted_again(url: str) -> None:
    assert redacted(redacted(url)) == redacted(url)


@pytest.mark.parametrize(
    ("url", "platform"),
    [
        ("https://meet.google.com/some-nickname", "google_meet"),
        ("https://teams.microsoft.com/meet/1234567", "microsoft_teams"),
        ("https://acme.webex.com/acme/new/form", "webex"),
    ],
)
def test_a_link_its_provider_vouches_for_stays_as_it_is(url: str, platform: str) -> None:
    assert canonical(url) is None

    link = vouched(url)

    assert link is not None
    assert (link.platform, link.url) == (platform, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/room/1",
        "https://zoom.us.evil.com/j/1",
        "https://zoom.us@evil.com/j/1",
        "https://meet.google.com/",
        "https://meet.google.com/../x",
        "javascript:alert(1)",
        "",
    ],
)
def test_nobody_can_vouch_for_a_link_off_the_platforms(url: str) -> None:
    assert vouched(url) is None
