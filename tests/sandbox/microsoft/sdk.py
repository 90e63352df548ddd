"""Microsoft's own client library, unchanged, pointed at the emulator."""

from __future__ import annotations

import json
import warnings
from typing import Any

import httpx
from kiota_abstractions.authentication import (
    AccessTokenProvider,
    AllowedHostsValidator,
    BaseBearerTokenAuthenticationProvider,
)
from kiota_serialization_json.json_parse_node_factory import JsonParseNodeFactory
from kiota_serialization_json.json_serialization_writer_factory import JsonSerializationWriterFactory

with warnings.catch_warnings():
    # The generated classes warn of their own deprecated aliases when they are defined.
    warnings.simplefilter("ignore", DeprecationWarning)
    from msgraph.graph_request_adapter import GraphRequestAdapter, options
    from msgraph.graph_service_client import GraphServiceClient
    from msgraph_core import GraphClientFactory  # type: ignore[import-untyped]  # ships no types

from tests.sandbox.microsoft.driving import BASE_URL, Person


class StaticToken(AccessTokenProvider):
    """Hands out one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_authorization_token(
        self, uri: str, additional_authentication_context: dict[str, Any] | None = None
    ) -> str:
        return self._token

    def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
        return AllowedHostsValidator([])


def client_for(person: Person) -> GraphServiceClient:
    """Return the library's client, with its own middleware, speaking as *person*."""
    plain = httpx.AsyncClient(transport=httpx.ASGITransport(app=person.graph.app))
    http = GraphClientFactory.create_with_default_middleware(client=plain, options=options)
    adapter = GraphRequestAdapter(
        BaseBearerTokenAuthenticationProvider(StaticToken(person.token)), client=http
    )
    adapter.base_url = f"{BASE_URL}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


def strangers_in(model: Any) -> set[str]:
    """
    Name every property, however deep, that the library's models do not know.

    Annotations (`@odata.…`, `@removed`) are OData's, not the models', and always land there.
    """
    if isinstance(model, list):
        return {name for each in model for name in strangers_in(each)}
    if not hasattr(model, "get_field_deserializers"):
        return set()
    own = {name for name in getattr(model, "additional_data", {}) if not name.startswith("@")}
    store = getattr(model, "backing_store", None)
    values = [value for _, value in store.enumerate_()] if store is not None else []
    return own | {name for value in values for name in strangers_in(value)}


def written_back(model: Any) -> Any:
    """Return what the library makes of a model it has read."""
    writer = JsonSerializationWriterFactory().get_serialization_writer("application/json")
    writer.write_object_value(None, model)
    return json.loads(writer.get_serialized_content())


def read_event(row: dict[str, Any]) -> Any:
    """Read a row of an answer with the library's model of events."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from msgraph.generated.models.event import Event

        node = JsonParseNodeFactory().get_root_parse_node("application/json", json.dumps(row).encode())
        return node.get_object_value(Event)


def lost_in(written: Any, row: Any) -> set[str]:
    """Name what *row* says and the library, having read it, does not say any more: values it does not know."""
    if isinstance(row, dict):
        known = written if isinstance(written, dict) else {}
        plain = {name: value for name, value in row.items() if not name.startswith("@")}
        missing = {
            name
            for name, value in plain.items()
            if value not in (None, [], {}) and known.get(name) is None
        }
        return missing | {
            lost for name, value in plain.items() for lost in lost_in(known.get(name), value)
        }
    if isinstance(row, list) and isinstance(written, list):
        pairs = zip(written, row, strict=True)
        return {lost for each, value in pairs for lost in lost_in(each, value)}
    return set()
