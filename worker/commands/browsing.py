"""What a person's browser does with a link: follows redirects, keeps cookies, ticks and presses Allow."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

MOST_STEPS = 10
WITHIN_S = 15.0


class NoWayOn(Exception):
    """A page that is no form and was not the end of the way."""


def agree_to(url: str, *, email: str) -> httpx.Response:
    """Open a link, agree to everything as the person with this address, and return the last page."""
    with httpx.Client(follow_redirects=True, timeout=WITHIN_S, trust_env=False) as browser:
        page = browser.get(url)
        for _ in range(MOST_STEPS):
            form = _Form()
            form.feed(page.text)
            if form.action is None or page.is_error:
                return page
            where = urljoin(str(page.url), form.action)
            page = browser.post(where, data=form.filled_in(email))
    msg = f"{url}: pages without end"
    raise NoWayOn(msg)


@dataclass
class _Form(HTMLParser):
    """The form of a page: where it goes, and what is in it as it came."""

    action: str | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)
    people: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        match tag, said.get("type", ""):
            case "form", _:
                self.action = said.get("action", "")
            case "input", "radio":
                self.people.append((said["name"], said["value"]))
            case "input", "hidden":
                self.fields.append((said["name"], said["value"]))
            case "input", "checkbox" if "checked" in said and "disabled" not in said:
                self.fields.append((said["name"], said["value"]))
            case "button", _ if "name" in said:
                self.buttons.append((said["name"], said["value"]))

    def handle_data(self, data: str) -> None:
        """Remember which choice carries which address: it stands beside it."""
        if "@" in data and self.people and len(self.people[-1]) == 2:
            name, value = self.people[-1]
            self.people[-1] = (name, f"{value}\n{data.strip()}")

    def filled_in(self, email: str) -> dict[str, list[str]]:
        """Fill in the form: the person of this address, everything ticked, the first button."""
        chosen = [
            (name, value.partition("\n")[0]) for name, value in self.people if f"<{email}>" in value
        ]
        filled: dict[str, list[str]] = {}
        for name, value in [*self.fields, *chosen, *self.buttons[:1]]:
            filled.setdefault(name, []).append(value)
        return filled
