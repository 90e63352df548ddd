"""
Refusals of the Calendar API, in Google's form.

Source: developers.google.com/workspace/calendar/api/guides/errors; texts that are not there are as seen.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

# reason -> (status, domain, message)
KNOWN: Mapping[str, tuple[int, str, str]] = {
    "badRequest": (400, "global", "Bad Request"),
    "invalid": (400, "global", "Invalid Value"),
    "required": (400, "global", "Required"),
    "parseError": (400, "global", "Parse Error"),
    "timeRangeEmpty": (400, "calendar", "The specified time range is empty."),
    "timeRangeTooLong": (400, "calendar", "The requested time range is too long."),
    "channelIdNotUnique": (400, "global", "Channel id not unique"),
    "eventTypeRestriction": (400, "calendar", "Event type restriction."),
    "cannotChangeOrganizer": (400, "calendar", "Cannot change the organizer of an event."),
    "authError": (401, "global", "Invalid Credentials"),
    "insufficientPermissions": (403, "global", "Insufficient Permission"),
    "forbidden": (403, "global", "Forbidden"),
    "forbiddenForNonOrganizer": (
        403,
        "calendar",
        "Shared properties can only be changed by the organizer of the event.",
    ),
    "requiredAccessLevel": (403, "calendar", "You need to have writer access to this calendar."),
    "accessNotConfigured": (403, "usageLimits", "Access Not Configured."),
    "notACalendarUser": (403, "calendar", "The user must be signed up for Google Calendar."),
    "rateLimitExceeded": (403, "usageLimits", "Rate Limit Exceeded"),
    "userRateLimitExceeded": (403, "usageLimits", "User Rate Limit Exceeded"),
    "quotaExceeded": (403, "usageLimits", "Calendar usage limits exceeded."),
    "dailyLimitExceeded": (403, "usageLimits", "Daily Limit Exceeded"),
    "notFound": (404, "global", "Not Found"),
    "duplicate": (409, "global", "The requested identifier already exists."),
    "conflict": (409, "global", "Conflict"),
    "deleted": (410, "global", "Resource has been deleted"),
    "fullSyncRequired": (
        410,
        "calendar",
        "Sync token is no longer valid, a full sync is required.",
    ),
    "updatedMinTooLongAgo": (
        410,
        "calendar",
        "The requested minimum modification time lies too far in the past.",
    ),
    "conditionNotMet": (412, "global", "Precondition Failed"),
    "backendError": (503, "global", "Backend Error"),
    "internalError": (500, "global", "Internal Error"),
}
BY_STATUS = {
    400: "badRequest",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    410: "fullSyncRequired",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "internalError",
}
REALM = 'Bearer realm="https://accounts.google.com/"'


class Refusal(Exception):
    """The call is answered with an error."""

    def __init__(
        self,
        reason: str,
        message: str = "",
        *,
        status: int | None = None,
        location: str = "",
        location_type: str = "parameter",
    ) -> None:
        known_status, domain, text = KNOWN.get(reason, (status or 400, "global", reason))
        self.status = status or known_status
        self.reason = reason
        self.domain = domain
        self.message = message or text
        self.location = location
        self.location_type = location_type
        super().__init__(f"{self.status} {reason}: {self.message}")

    def answer(self) -> Answer:
        error: Json = {"domain": self.domain, "reason": self.reason, "message": self.message}
        if self.location:
            error |= {"locationType": self.location_type, "location": self.location}
        body: Json = {"errors": [error], "code": self.status, "message": self.message}
        headers = {}
        if self.status == 401:
            headers["www-authenticate"] = f'{REALM}, error="invalid_token"'
        return Answer(self.status, {"error": body}, headers)


def refusal_by(status: int | None, reason: str) -> Refusal:
    """Return the refusal of a fault that names a status, a reason or both."""
    return Refusal(reason or BY_STATUS.get(status or 0, "backendError"), status=status)


def scope_refusal(method: str, accepted: frozenset[str]) -> Answer:
    """
    Return the 403 of a token whose scopes do not allow *method*.

    Source: cloud.google.com/docs/authentication (ErrorInfo with ACCESS_TOKEN_SCOPE_INSUFFICIENT).
    """
    answer = Refusal("insufficientPermissions").answer()
    assert isinstance(answer.body, dict)
    body = answer.body["error"] | {
        "message": "Request had insufficient authentication scopes.",
        "status": "PERMISSION_DENIED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                "domain": "googleapis.com",
                "metadata": {"service": "calendar-json.googleapis.com", "method": method},
            }
        ],
    }
    challenge = f'{REALM}, error="insufficient_scope", scope="{" ".join(sorted(accepted))}"'
    return Answer(403, {"error": body}, {"www-authenticate": challenge})
