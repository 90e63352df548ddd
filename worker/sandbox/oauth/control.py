"""`/_emulator/oauth/`: register people and applications, decide how they behave, take grants away."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from starlette.routing import Route

from worker.sandbox.oauth.calls import Action, Asked, Unknown, control_routes
from worker.sandbox.oauth.grants import Account, Client
from worker.sandbox.oauth.ledger import Family
from worker.sandbox.oauth.manners import Manner
from worker.sandbox.oauth.server import AuthorizationServer
from worker.sandbox.recall.forms import Json
from worker.sandbox.recall.switches import replaced


def oauth_control(server: AuthorizationServer, prefix: str = "/_emulator/oauth") -> list[Route]:
    """List the routes of the control API over *server*."""
    return control_routes(prefix, Control(server).actions())


@dataclass(frozen=True, slots=True)
class Control:
    server: AuthorizationServer

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        return (
            ("GET", "/state", self.state),
            ("GET", "/accounts", self.accounts),
            ("POST", "/accounts", self.add_account),
            ("GET", "/clients", self.clients),
            ("POST", "/clients", self.add_client),
            ("DELETE", "/clients/{id}", self.delete_client),
            ("GET", "/grants", self.grants),
            ("POST", "/tokens", self.mint),
            ("POST", "/revoke", self.revoke),
            ("POST", "/expire", self.expire),
            ("GET", "/manners", self.manners),
            ("PUT", "/manners", self.add_manner),
            ("DELETE", "/manners", self.forget_manners),
            ("PUT", "/approvals", self.approve),
            ("GET", "/switches", lambda _: asdict(self.server.switches)),
            ("PATCH", "/switches", self.set_switches),
            ("GET", "/faults", lambda _: [asdict(each) for each in self.server.faults.orders]),
            ("POST", "/faults", self.order_fault),
            ("DELETE", "/faults", self.clear_faults),
        )

    def state(self, _asked: Asked) -> object:
        """Summarise in numbers."""
        ledger = self.server.ledger
        return {
            "flavour": self.server.flavour.name,
            "accounts": len(self.server.accounts),
            "clients": len(self.server.clients),
            "live_grants": sum(not family.trouble for family in ledger.families),
            "refresh_tokens": len(ledger.refresh_tokens),
            "access_tokens": len(ledger.access_tokens),
            "faults": len(self.server.faults.orders),
        }

    def accounts(self, _asked: Asked) -> object:
        return [asdict(account) for account in self.server.accounts.values()]

    def add_account(self, asked: Asked) -> object:
        """Make an account: `email`, and if wanted `name` and `id`."""
        body = asked.body
        account = self.server.add_account(
            body["email"], name=body.get("name", ""), account_id=body.get("id", "")
        )
        return asdict(account)

    def clients(self, _asked: Asked) -> object:
        """List applications without their secrets."""
        return [
            {"client_id": client.client_id, "redirect_uris": list(client.redirect_uris)}
            for client in self.server.clients.values()
        ]

    def add_client(self, asked: Asked) -> object:
        """Register an application, or give a known one another secret or other redirect URIs."""
        body, known = asked.body, self.server.clients.get(asked.body["client_id"])
        uris = body.get("redirect_uris", known.redirect_uris if known else ())
        secret = body.get("client_secret", known.client_secret if known else "")
        self.server.add_client(Client(body["client_id"], secret, tuple(uris)))
        return {"client_id": body["client_id"], "redirect_uris": list(uris)}

    def delete_client(self, asked: Asked) -> object:
        self.server.delete_client(asked.path["id"])
        return {}

    def grants(self, asked: Asked) -> object:
        """List what was granted, dead or alive, without tokens: `account`, `client_id` choose."""
        account = self._account(asked.query["account"]).id if "account" in asked.query else None
        return [self._shown(f) for f in self.server.ledger.of(account, asked.query.get("client_id"))]

    def mint(self, asked: Asked) -> object:
        """Give tokens without a consent page: `account`, `client_id`, `scopes`, `with_refresh` (true)."""
        body = asked.body
        client = self.server.clients.get(body["client_id"])
        if client is None:
            raise Unknown(f"no client {body['client_id']}")
        scopes = tuple(self.server.flavour.aliases.get(scope, scope) for scope in body["scopes"])
        return self.server.mint(
            self._account(body["account"]), client, scopes, with_refresh=body.get("with_refresh", True)
        )

    def revoke(self, asked: Asked) -> object:
        """
        Kill grants of `account` and `client_id` (any if left out).

        `trouble` says why (revoked, expired, policy, challenge, no_consent); `access_too` whether access tokens
        die with them, as is usual with the provider if left out.
        """
        body = asked.body
        trouble = body.get("trouble", "revoked")
        if trouble not in self.server.flavour.wordings:
            raise ValueError(f"trouble is one of {', '.join(self.server.flavour.wordings)}")
        account = self._account(body["account"]).id if body.get("account") else None
        killed = self.server.forget(
            account, body.get("client_id"), trouble=trouble, access_too=body.get("access_too")
        )
        return {"revoked": killed}

    def expire(self, asked: Asked) -> object:
        """Let access tokens of `account` and `client_id` (any if left out) expire; refreshing still works."""
        body = asked.body
        account = self._account(body["account"]).id if body.get("account") else None
        families = self.server.ledger.of(account, body.get("client_id"))
        for family in families:
            self.server.ledger.drop_access(family)
        return {"families": len(families)}

    def manners(self, _asked: Asked) -> object:
        return [asdict(manner) for manner in self.server.manners]

    def add_manner(self, asked: Asked) -> object:
        """Add a rule of behaviour (see `Manner`); `account` may be an address."""
        wish = dict(asked.body)
        if wish.get("account"):
            wish["account"] = self._account(wish["account"]).id
        self.server.manners.append(Manner.read(wish))
        return self.manners(asked)

    def forget_manners(self, _asked: Asked) -> object:
        self.server.manners.clear()
        return []

    def approve(self, asked: Asked) -> object:
        """Let an administrator have approved `client_id` for `tenant`; `approved: false` takes it back."""
        pair = (asked.body["client_id"], asked.body["tenant"])
        if asked.body.get("approved", True):
            self.server.approved.add(pair)
        else:
            self.server.approved.discard(pair)
        return [list(each) for each in sorted(self.server.approved)]

    def set_switches(self, asked: Asked) -> object:
        """Flip the switches named and show all."""
        self.server.switches = replaced(self.server.switches, asked.body)
        return asdict(self.server.switches)

    def order_fault(self, asked: Asked) -> object:
        """Order one fault or a list of them; `account` may be an address."""
        wishes = asked.body if isinstance(asked.body, list) else [asked.body]
        orders = [asdict(self.server.faults.order(wish)) for wish in wishes]
        return orders if isinstance(asked.body, list) else orders[0]

    def clear_faults(self, _asked: Asked) -> object:
        cleared = len(self.server.faults.orders)
        self.server.faults.orders.clear()
        return {"cleared": cleared}

    def _account(self, id_or_email: str) -> Account:
        account = self.server.account(id_or_email)
        if account is None:
            raise Unknown(f"no account {id_or_email}")
        return account

    def _shown(self, family: Family) -> Json:
        tokens = [self.server.ledger.refresh_tokens[text] for text in family.refresh_texts]
        return {
            "family": family.number,
            "account": self.server.accounts[family.account_id].email,
            "client_id": family.client_id,
            "scopes": list(family.scopes),
            "trouble": family.trouble,
            "refresh_tokens": len(tokens),
            "rotated": sum(token.was_rotated for token in tokens),
        }
