"""What a stranger's URL may be, and what it may resolve to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Refused
from worker.publishers.egress import ForbiddenUrl, check_url, why_forbidden

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.0.1", "192.168.255.255", "::1", "fc00::1", "fd00::1", "fdff:ffff::1",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "0.1.2.3", "100.64.0.1", "100.127.255.255", "169.254.0.1", "169.254.169.254",
    "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254", "::127.0.0.1",
    "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1",
    "3fff::1", "5f00::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff05::1:3", "fd00:ec2::254",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255",
    "172.32.0.0", "192.0.1.1", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888",
]  # fmt: skip

# Everything here is refused even where private addresses are allowed.
NEVER_A_URL = [
    "", "example.com", "//example.com", "/hook", "http:", "http:/example.com", "http:///hook", "https://",
    "http://:80/", "file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "dict://example.com",
    "javascript:alert(1)", "data:text/html,x", "ws://example.com/", "unix:///var/run/docker.sock",
    "httpx://example.com/", "http://a@127.0.0.1/", "http://a:b@example.com/", "http://example.com@evil.com/",
    "http://@example.com/", "http://example.com%40evil.com/", "http://good.com#@evil.com/",
    "http://good.com/#x", "http://good.com#", "http://good.com\\@evil.com/", "http://good.com\\evil",
    "http:\\\\good.com", "http://good.com/\r\nHost: evil", "http://good.com/\r", "http://good.com/\n",
    "http://go\tod.com/", "http://good.com/a b", " http://good.com/", "http://good.com/ ", "\x00http://good.com",
    "http://good.com/\x7f", "http://①②⑦.0.0.1/", "http://ⓛocalhost/", "http://exаmple.com/",
    "http://bücher.example/", "http://127。0。0。1/", "http://good.com/é", "http://2130706433/",
    "http://017700000001/", "http://0x7f000001/", "http://0x7f.1/", "http://0X7F.0.0.1/", "http://0177.0.0.1/",
    "http://127.1/", "http://127.0.1/", "http://0/", "http://127.0.0.1./x/../..\\", "http://1.2.3.4.5/",
    "http://256.1.1.1/", "http://1.1.1.0x1/", "http://8.8.8.08/", "http://example.0x7f/", "http://example.1/",
    "http://127%2e0%2e0%2e1/", "http://%31%32%37.0.0.1/", "http://exa%6dple.com/", "http://[::1",
    "http://::1/", "http://[::1]]/", "http://[v1.x]/", "http://[fe80::1%25eth0]/", "http://[::ffff:127.0.0.1]/",
    "http://[1.2.3.4]/", "http://[]/", "http://example.com:/", "http://example.com:0/",
    "http://example.com:22/", "http://example.com:25/", "http://example.com:6379/", "http://example.com:5432/",
    "http://example.com:5672/", "http://example.com:3306/", "http://example.com:11211/",
    "http://example.com:27017/", "http://example.com:2375/", "http://example.com:9200/",
    "http://example.com:8 0/", "http://example.com:65536/", "http://example.com:99999/",
    "http://example.com:-1/", "http://example.com:+80/", "http://example.com:٨٠/", "http://example.com:80:80/",
    "http://-example.com/", "http://example-.com/", "http://exa mple.com/", "http://.example.com/",
    "http://example..com/", "http://example.com../", "http://./", "http://exam*ple.com/", "http://a,b.com/",
    "http://" + "a" * 64 + ".com/", "http://" + "a." * 130 + "com/", "http://example.com/" + "a" * 2000,
    "http://example.com/<script>", "http://example.com/%zz", "http://example.com/%", 'http://example.com/"',
    "http://example.com/{x}", "http://example.com?q=^",
]  # fmt: skip
LOCAL_NAMES = [
    "http://localhost/", "http://localhost./", "http://LOCALHOST/", "http://LocalHost:8080/", "http://sink/",
    "http://foo.localhost/", "http://metadata.google.internal/", "http://printer.local/",
    "http://box.localdomain/", "http://x.home.arpa/", "http://router.lan/", "http://db.corp/",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_switch(address: str) -> None:
    assert why_forbidden(ipaddress.ip_address(address), allow_private=False)
    assert why_forbidden(ipaddress.ip_address(address), allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_special_addresses_are_never_reached(address: str) -> None:
    assert why_forbidden(ipaddress.ip_address(address), allow_private=False)
    assert why_forbidden(ipaddress.ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert why_forbidden(ipaddress.ip_address(address), allow_private=False) is None


@pytest.mark.parametrize("url", NEVER_A_URL)
def test_odd_urls_are_refused_everywhere(url: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(ForbiddenUrl):
            check_url(url, allow_private=allow_private)


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_addresses_are_judged_in_urls_too(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    with pytest.raises(ForbiddenUrl):
        check_url(f"https://{host}/hook", allow_private=False)


@pytest.mark.parametrize("url", LOCAL_NAMES)
def test_names_of_private_networks_need_the_switch(url: str) -> None:
    with pytest.raises(ForbiddenUrl, match="private network"):
        check_url(url, allow_private=False)
    check_url(url, allow_private=True)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/Hook?A=b%20c", "https://example.com/Hook?A=b%20c"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://example.com./x", "https://example.com/x"),
        ("https://example.com:8443/x", "https://example.com:8443/x"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://[2606:4700:0::1111]:8443/", "https://[2606:4700::1111]:8443/"),
        ("https://hooks_1.example.com/a@b", "https://hooks_1.example.com/a@b"),
    ],
)
def test_a_good_url_has_one_normal_form(url: str, normal: str) -> None:
    assert check_url(url, allow_private=False) == normal
    assert check_url(normal, allow_private=False) == normal


@given(st.text(max_size=60))
def test_any_text_is_either_normal_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://example.com{text}"):
        try:
            normal = check_url(url, allow_private=False)
        except Refused:
            continue
        assert check_url(normal, allow_private=False) == normal
        assert normal.isascii()


@given(st.ip_addresses(v=4))
def test_only_global_addresses_pass(address: ipaddress.IPv4Address) -> None:
    if why_forbidden(address, allow_private=False) is None:
        assert address.is_global
