"""
Graph's error answers. Texts are those of the vendor's pages or of reports from the field where such exist.

Source: learn.microsoft.com/graph/errors; the gate adds `innerError`.
"""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):
    """The call is answered with an error."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def not_found() -> Refused:
    """There is nothing of that id."""
    return Refused(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def malformed_id() -> Refused:
    """No id looks like that."""
    return Refused(400, "ErrorInvalidIdMalformed", "Id is malformed.")


def access_denied() -> Refused:
    """Scopes or sharing do not reach so far."""
    return Refused(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")


def invalid_request(text: str) -> Refused:
    """Something asked for cannot be done."""
    return Refused(400, "ErrorInvalidRequest", f"Your request can't be completed. {text}")


def failed_validation() -> Refused:
    """Build the answer to values that make no sense together. Source: microsoft-graph-docs #19286."""
    return Refused(400, "ErrorPropertyValidationFailure", "At least one property failed validation.")


def unreadable(text: str) -> Refused:
    """The body is not what it should be."""
    return Refused(400, "RequestBodyRead", text)


def unknown_property(name: str, type_name: str = "event") -> Refused:
    """The body names what the type does not have."""
    return unreadable(
        f"The property '{name}' does not exist on type 'microsoft.graph.{type_name}'. Make sure to only use "
        "property names that are defined by the type."
    )


def unknown_zone(name: str) -> Refused:
    """Source: microsoft-graph-docs #4758."""
    text = (
        "A valid TimeZone value must be specified. The following TimeZone value is not supported: "
        f"'{name}'."
    )
    return Refused(400, "TimeZoneNotSupportedException", text)


def invalid_query(text: str) -> Refused:
    """A query option is unknown or wrong."""
    return Refused(400, "ErrorInvalidUrlQuery", text)


def unauthorized(text: str) -> Refused:
    """Source: the header as in kitplummer/tdi #23; texts from field reports."""
    header = (
        'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
        'client_id="00000003-0000-0000-c000-000000000000"'
    )
    return Refused(401, "InvalidAuthenticationToken", text, {"www-authenticate": header})


def mailbox_missing() -> Refused:
    """The account has no mailbox, or none that Graph reaches."""
    text = "The mailbox is either inactive, soft-deleted, or is hosted on-premise."
    return Refused(404, "MailboxNotEnabledForRESTAPI", text)


def throttled(what: str, retry_after_s: int) -> Refused:
    """Source: text and code as in calcom/cal.com #343 (no innerError there); the header as documented."""
    return Refused(
        429,
        "ApplicationThrottled",
        f"Application is over its {what} limit.",
        {"retry-after": str(retry_after_s)},
    )
