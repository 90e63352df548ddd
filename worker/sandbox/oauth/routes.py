"""
The endpoints of an authorisation server as routes; the caller says under which paths.

Sources: RFC 6749 (4.1, 5), RFC 7636, developers.google.com/identity/protocols/oauth2/web-server,
learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow and …/v2-admin-consent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote_plus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.sandbox.oauth import asking as asked
from worker.sandbox.oauth import consenting, pages
from worker.sandbox.oauth.asking import Asking, Declined, Unshowable
from worker.sandbox.oauth.consenting import ConsentPage, SendBack, Verdict, WallPage
from worker.sandbox.oauth.faults import Fault, Target
from worker.sandbox.oauth.flavours import tenant_of
from worker.sandbox.oauth.identity import claims_of
from worker.sandbox.oauth.refusals import Refused
from worker.sandbox.oauth.server import AuthorizationServer
from worker.sandbox.oauth.serving import Outcome, carry_out, respond, response_of
from worker.sandbox.recall.answers import Answer

Paths = str | Sequence[str]
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}


def routes(
    server: AuthorizationServer,
    *,
    authorize: Paths,
    token: Paths,
    revoke: Paths | None = None,
    userinfo: Paths | None = None,
    admin_consent: Paths | None = None,
) -> list[Route]:
    """List the routes of *server* under the paths given; `{tenant}` in a path is Microsoft's."""
    endpoints = Endpoints(server)
    wanted = (
        (authorize, endpoints.authorize, ["GET", "POST"]),
        (token, endpoints.token, ["POST"]),
        (revoke, endpoints.revoke, ["POST"]),
        (userinfo, endpoints.userinfo, ["GET", "POST"]),
        (admin_consent, endpoints.admin_consent, ["GET", "POST"]),
    )
    return [
        Route(path, endpoint, methods=methods)
        for paths, endpoint, methods in wanted
        for path in ((paths,) if isinstance(paths, str) else paths or ())
    ]


@dataclass(frozen=True, slots=True)
class Endpoints:
    server: AuthorizationServer

    async def authorize(self, request: Request) -> Response:
        """Show a page, take its answer, or send the user back."""
        server = self.server
        query = dict(request.query_params)
        client_id = query.get("client_id")
        call = Target("oauth.authorize", request.method, _target(request), client_id=client_id)
        form = parse_qs((await request.body()).decode(errors="replace"))
        noted: dict[str, object] = {}

        def act() -> Answer:
            return self._authorized(request, query, form, noted)

        outcome = await carry_out(call, server.faults, server.chance, act=act, refuse=self._refuse)
        self._note("authorize", outcome, client_id=client_id, **noted)
        return await respond(request, outcome, server.clock.now())

    async def token(self, request: Request) -> Response:
        """Redeem a code or refresh."""
        server = self.server
        form = _last(parse_qs((await request.body()).decode(errors="replace"), keep_blank_values=True))
        client_id, secret = _credentials(request, form)
        account = self._account_behind(form)
        email = None if account is None else server.accounts[account].email
        call = Target("oauth.token", "POST", _target(request), account, email, client_id)
        noted: dict[str, object] = {"outcome": ""}

        def act() -> Answer:
            try:
                body = self._tokens(form, client_id, secret)
            except Refused as refused:
                noted["outcome"] = refused.trouble
                return self._refusal(refused)
            noted["outcome"] = "granted"
            noted["gives_refresh_token"] = "refresh_token" in body
            noted["scope"] = body["scope"]
            return Answer(200, body, NO_STORE)

        outcome = await carry_out(call, server.faults, server.chance, act=act, refuse=self._refuse)
        grant_type = form.get("grant_type", "")
        self._note("token", outcome, client_id=client_id, account=email, grant_type=grant_type, **noted)
        return await respond(request, outcome, server.clock.now())

    async def revoke(self, request: Request) -> Response:
        """Take a grant back; a token nobody knows is a 400."""
        server = self.server
        form = _last(parse_qs((await request.body()).decode(errors="replace")))
        token = form.get("token") or request.query_params.get("token", "")

        def act() -> Answer:
            if server.revoke(token):
                return Answer(200, {})
            text = "Token expired or revoked"
            return Answer(400, {"error": "invalid_token", "error_description": text})

        call = Target("oauth.revoke", "POST", _target(request))
        outcome = await carry_out(call, server.faults, server.chance, act=act, refuse=self._refuse)
        self._note("revoke", outcome)
        return await respond(request, outcome, server.clock.now())

    async def userinfo(self, request: Request) -> Response:
        """Tell who the access token speaks for, as far as its scopes go."""
        server = self.server
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        grant = server.grant_of(text.strip()) if scheme.lower() == "bearer" else None

        def act() -> Answer:
            if grant is None:
                return self._unauthorized()
            if not grant.scopes & server.flavour.sign_in_scopes:
                return self._unauthorized(status=403, error="insufficient_scope")
            claims = claims_of(server.flavour, grant.account, grant.client_id, grant.scopes)
            return Answer(200, claims)

        account = grant.account.id if grant else None
        email = grant.account.email if grant else None
        call = Target("oauth.userinfo", request.method, _target(request), account, email)
        outcome = await carry_out(call, server.faults, server.chance, act=act, refuse=self._refuse)
        self._note("userinfo", outcome, account=email)
        return await respond(request, outcome, server.clock.now())

    async def admin_consent(self, request: Request) -> Response:
        """Let an administrator approve an application for a whole tenant."""
        server, query = self.server, dict(request.query_params)
        try:
            asking = asked.read(query, server.clients, server.flavour, _tenant(request))
        except Unshowable as error:
            return response_of(Answer(400, pages.error_page(error.error, error.text)))
        form = _last(parse_qs((await request.body()).decode(errors="replace")))
        if request.method == "GET" and not server.switches.auto_consent:
            page = pages.admin_page(asking.client.client_id, asking.scopes, _target(request))
            return response_of(Answer(200, page))
        tenants = sorted({tenant_of(a) for a in server.accounts_offered(asking.tenant)})
        if form.get("decision") == "deny":
            facts = {"error": "access_denied", "error_description": consenting.DECLINED}
        else:
            server.approved |= {(asking.client.client_id, tenant) for tenant in tenants}
            facts = {"admin_consent": "True", "tenant": tenants[0] if tenants else asking.tenant}
            facts["scope"] = " ".join(asking.scopes)
        server.history.note(
            server.clock.now(), "admin_consent", client_id=asking.client.client_id, **facts
        )
        return RedirectResponse(asking.location(facts), 302)

    def _authorized(
        self,
        request: Request,
        query: Mapping[str, str],
        form: Mapping[str, Sequence[str]],
        noted: dict[str, object],
    ) -> Answer:
        server = self.server
        try:
            asking = asked.read(query, server.clients, server.flavour, _tenant(request))
        except Unshowable as error:
            noted["outcome"] = error.error
            return Answer(400, pages.error_page(error.error, error.text))
        try:
            asked.check(asking, query, server.switches)
            is_post = request.method == "POST"
            verdict: Verdict = (
                consenting.answered(server, asking, form)
                if is_post
                else consenting.decide(server, asking)
            )
        except Unshowable as error:
            noted["outcome"] = error.error
            return Answer(400, pages.error_page(error.error, error.text))
        except Declined as declined:
            noted["outcome"] = declined.error
            return _back(asking, _facts_of(declined))
        return self._shown(request, asking, verdict, noted)

    def _shown(
        self, request: Request, asking: Asking, verdict: Verdict, noted: dict[str, object]
    ) -> Answer:
        match verdict:
            case ConsentPage(accounts, chosen):
                noted["outcome"] = "page"
                flavour = self.server.flavour
                page = pages.consent_page(asking, flavour, accounts, chosen, _target(request))
                return Answer(200, page)
            case WallPage():
                noted["outcome"] = "wall"
                back = consenting.wall_of(self.server)
                return Answer(200, pages.wall_page(asking, asking.location(_facts_of(back))))
            case SendBack(facts, account):
                noted |= {"outcome": "code", "account": account.email if account else None}
                return _back(asking, facts)

    def _tokens(self, form: Mapping[str, str], client_id: str, secret: str) -> dict[str, object]:
        server = self.server
        grant_type = form.get("grant_type", "")
        if not grant_type:
            raise Refused("missing", "grant_type")
        if grant_type not in ("authorization_code", "refresh_token"):
            raise Refused("bad_grant_type", grant_type)
        if not client_id:
            raise Refused("missing", "client_id")
        client = server.authenticated(client_id, secret)
        if grant_type == "refresh_token":
            if not form.get("refresh_token"):
                raise Refused("missing", "refresh_token")
            return server.refresh(client, form["refresh_token"], tuple(form.get("scope", "").split()))
        if not form.get("code"):
            raise Refused("missing", "code")
        return server.redeem(
            client, form["code"], form.get("redirect_uri", ""), form.get("code_verifier", "")
        )

    def _account_behind(self, form: Mapping[str, str]) -> str | None:
        """Return whose code or refresh token was sent."""
        ledger = self.server.ledger
        refresh = ledger.refresh_tokens.get(form.get("refresh_token", ""))
        if refresh is not None:
            return refresh.family.account_id
        code = ledger.codes.get(form.get("code", ""))
        return code.account_id if code else None

    def _refuse(self, fault: Fault) -> Answer:
        """Word a fault: by its reason, else by its status."""
        by_status = {429: "too_many", 500: "failed"}
        trouble = fault.reason or by_status.get(fault.status or 0, "overloaded")
        wordings = self.server.flavour.wordings
        aliases = {"invalid_client": "wrong_secret", "invalid_grant": "revoked"}
        return self._refusal(
            Refused(aliases.get(trouble, trouble if trouble in wordings else "overloaded"))
        )

    def _refusal(self, refused: Refused) -> Answer:
        """
        Render a refusal in the form of the flavour.

        Source: learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow (error response example).
        """
        server = self.server
        wording = server.flavour.wordings[refused.trouble]
        text = wording.text.format(refused.detail)
        headers = dict(NO_STORE)
        if wording.status == 401:
            headers["www-authenticate"] = 'Basic realm="token"'
        body: dict[str, object] = {"error": wording.error}
        if not server.flavour.is_microsoft:
            return Answer(wording.status, body | ({"error_description": text} if text else {}), headers)
        now = server.clock.now()
        at = now.strftime("%Y-%m-%d %H:%M:%SZ")
        trace_id, correlation_id = self._made_up_id(), self._made_up_id()
        ids = f"Trace ID: {trace_id} Correlation ID: {correlation_id}"
        described = f"AADSTS{wording.code}: {text} {ids} Timestamp: {at}"
        body |= {
            "error_description": described,
            "error_codes": [wording.code],
            "timestamp": at,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
        }
        return Answer(
            wording.status, body | ({"suberror": wording.suberror} if wording.suberror else {}), headers
        )

    def _unauthorized(self, status: int = 401, error: str = "invalid_token") -> Answer:
        headers = {"www-authenticate": f'Bearer realm="userinfo", error="{error}"'}
        if self.server.flavour.is_microsoft:
            code = {"code": "InvalidAuthenticationToken", "message": "Access token validation failure."}
            return Answer(status, {"error": code}, headers)
        body = {"error": "invalid_request", "error_description": "Invalid Credentials"}
        return Answer(status, body, headers)

    def _made_up_id(self) -> str:
        digest = hashlib.sha256(self.server.chance.randbytes(16)).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"

    def _note(self, kind: str, served: Outcome, /, **facts: object) -> None:
        """Write the call down, without anything that could be used as a token."""
        self.server.history.note_call(
            self.server.clock.now(),
            operation=f"oauth.{kind}",
            status=served.shown_status,
            duration_ms=served.took_ms,
            **facts,
            **served.facts(),
        )


def _facts_of(declined: Declined) -> dict[str, str]:
    facts = {"error": declined.error}
    return facts | ({"error_description": declined.text} if declined.text else {})


def _back(asking: Asking, facts: Mapping[str, str]) -> Answer:
    if asking.response_mode == "form_post":
        return Answer(200, pages.posting_page(asking.redirect_uri, asking.echoed(facts)))
    return Answer(302, None, {"location": asking.location(facts)})


def _credentials(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    """Read client id and secret from the Basic header, else from the form. Source: RFC 6749 section 2.3.1."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def _last(form: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: values[-1] for name, values in form.items()}


def _tenant(request: Request) -> str:
    return str(request.path_params.get("tenant", ""))


def _target(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
