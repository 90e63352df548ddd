"""The pages a person sees: consent, the wall before it, errors. Plain HTML that a script can read and post."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from worker.sandbox.oauth.asking import Asking
from worker.sandbox.oauth.flavours import Flavour
from worker.sandbox.oauth.grants import Account

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def consent_page(
    asking: Asking, flavour: Flavour, accounts: Sequence[Account], chosen: Account | None, action: str
) -> str:
    """Show whose account, which scopes, Allow and Deny; posted to *action* as account, scope and decision."""
    picker = ""
    for account in accounts:
        is_chosen = account == (chosen or accounts[0])
        picker += (
            f'<p><label><input type="{"radio" if len(accounts) > 1 else "hidden"}" name="account"'
            f' value="{escape(account.id)}"{" checked" if is_chosen and len(accounts) > 1 else ""}>'
            f" {escape(account.name)} &lt;{escape(account.email)}&gt;</label></p>\n"
        )
    scopes = "".join(_scope_line(scope, flavour) for scope in asking.scopes)
    body = (
        f'<form method="post" action="{escape(action)}">\n'
        f"<p>{escape(asking.client.client_id)} wants to access your account.</p>\n{picker}{scopes}"
        '<button type="submit" name="decision" value="allow">Allow</button>\n'
        '<button type="submit" name="decision" value="deny">Deny</button>\n</form>'
    )
    return _PAGE.format(title="Choose what to allow", body=body)


def wall_page(asking: Asking, back: str) -> str:
    """
    Say that an administrator has to approve; the only way on is back to the application.

    Source: learn.microsoft.com/entra/identity/enterprise-apps/configure-user-consent (Need admin approval).
    """
    body = (
        f"<p>{escape(asking.client.client_id)} needs permission to access resources in your organization "
        "that only an admin can grant.</p>\n"
        f'<p><a href="{escape(back)}">Return to the application without granting consent</a></p>'
    )
    return _PAGE.format(title="Need admin approval", body=body)


def admin_page(client_id: str, scopes: Iterable[str], action: str) -> str:
    """Show an administrator what the whole organisation would consent to."""
    lines = "".join(f"<li>{escape(scope)}</li>\n" for scope in scopes)
    body = (
        f'<form method="post" action="{escape(action)}">\n<p>{escape(client_id)}</p>\n<ul>\n{lines}</ul>\n'
        '<button type="submit" name="decision" value="allow">Accept</button>\n'
        '<button type="submit" name="decision" value="deny">Cancel</button>\n</form>'
    )
    return _PAGE.format(title="Permissions requested: review for your organization", body=body)


def error_page(error: str, text: str) -> str:
    """Say what is wrong with a request that leads nowhere."""
    return _PAGE.format(
        title="Access blocked", body=f"<p>{escape(text)}</p>\n<p>Error 400: {escape(error)}</p>"
    )


def posting_page(url: str, facts: dict[str, str]) -> str:
    """Send the browser back by a form that posts itself (response_mode form_post)."""
    inputs = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">\n'
        for name, value in facts.items()
    )
    body = (
        f'<form method="post" action="{escape(url)}">\n{inputs}<button type="submit">Continue</button></form>'
        "<script>document.forms[0].submit()</script>"
    )
    return _PAGE.format(title="Working...", body=body)


def _scope_line(scope: str, flavour: Flavour) -> str:
    if not flavour.granular:
        return f"<p>{escape(scope)}</p>\n"
    is_fixed = scope in flavour.sign_in_scopes
    return (
        f'<p><label><input type="checkbox" name="scope" value="{escape(scope)}" checked'
        f"{' disabled' if is_fixed else ''}> {escape(scope)}</label></p>\n"
    )
