"""Pages: plain, self-contained, and the same for every way things can end."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from http import HTTPStatus

from starlette.responses import HTMLResponse, Response

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34em; margin: 4em auto; padding: 0 1em;
  color: #1c1c1c; }}
h1 {{ font-size: 1.4em; }}
a.do {{ display: inline-block; padding: .5em 1em; border-radius: .4em; background: #1f5fbf; color: #fff;
  text-decoration: none; }}
code {{ color: #555; }}
</style>
<h1>{title}</h1>
<p>{text}</p>
{more}
</html>
"""
#: Links hold a token: they leave by no referrer, and stay in no cache.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none';"
        " form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Page:
    """
    One page: what happened, what to do, and at most one link to do it with.

    *code* names the fault for whoever is asked for help.
    """

    title: str
    text: str
    status: HTTPStatus = HTTPStatus.OK
    code: str | None = None
    link: str | None = None
    label: str = ""

    def response(self) -> Response:
        more = ""
        if self.link is not None:
            more += f'<p><a class="do" rel="noreferrer" href="{escape(self.link)}">{escape(self.label)}</a></p>'
        if self.code is not None:
            more += f"<p><code>{escape(self.code)}</code></p>"
        content = _PAGE.format(title=escape(self.title), text=escape(self.text), more=more)
        return HTMLResponse(content, status_code=self.status, headers=_HEADERS)


def no_store(response: Response) -> Response:
    """Keep a redirect out of caches and referrers too."""
    response.headers.update(_HEADERS)
    return response
