"""
The table of operations: what the API can do, said once.

The routes and the OpenAPI document are both made from it, so neither can say what the other does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel
from starlette.datastructures import URL

from webhooks.api.cursors import Spot, read_cursor, spot_text, text_spot, write_cursor
from webhooks.api.shapes import Listing, Nothing
from worker.access import Caller, Scope
from worker.runtime import Runtime

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation found: a JSON value or nothing, and a status when it is not the usual one."""

    body: Any = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was let in and understood."""

    rt: Runtime
    caller: Caller
    url: URL
    ids: Mapping[str, UUID]
    query: BaseModel
    body: BaseModel | None

    @property
    def id(self) -> UUID:
        """The id in the path."""
        return self.ids["id"]

    def query_as(self, model: type[Model]) -> Model:
        """Return the query as the model the operation declared."""
        assert isinstance(self.query, model)
        return self.query

    def body_as(self, model: type[Model]) -> Model:
        """Return the body as the model the operation declared."""
        assert isinstance(self.body, model)
        return self.body

    @property
    def after(self) -> Spot | None:
        """Where the page before ended; a Problem when the cursor is not of this list."""
        return None if self.cursor is None else text_spot(self.cursor)

    @property
    def cursor(self) -> str | None:
        """The place behind the cursor as its list wrote it."""
        cursor = self.query_as(Listing).cursor
        return None if cursor is None else read_cursor(self.rt.vault, self._listing, cursor)

    def page(self, found: Sequence[tuple[Spot, dict[str, Any]]]) -> Answer:
        """Answer with a page of *found*, which was asked for one entry more than the limit."""
        shown = found[: self.query_as(Listing).limit]
        spot = spot_text(shown[-1][0]) if len(found) > len(shown) else None
        return self.page_until([view for _, view in shown], spot)

    def page_until(self, views: Sequence[dict[str, Any]], spot: str | None) -> Answer:
        """Answer with a page that ends at *spot*; None: it is the last one."""
        cursor = None if spot is None else write_cursor(self.rt.vault, self._listing, spot)
        return Answer({"data": list(views), "next": cursor})

    @property
    def fetch(self) -> int:
        """How many entries to ask for, to know whether there are more."""
        return self.query_as(Listing).limit + 1

    @property
    def _listing(self) -> str:
        filters = self.query.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)
        return f"{self.url.path}?{sorted(filters.items())}"


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One row of the table.

    *also* lists further successful statuses. *problems* are the codes beyond those every operation
    can end in. *documented* replaces *body* in the documents where another module reads the body.
    """

    method: Method
    path: str
    scope: Scope
    summary: str
    tag: str
    carry_out: Callable[[Call], Answer]
    query: type[BaseModel]
    body: type[BaseModel] | None
    documented: type[BaseModel] | None
    response: type[BaseModel] | None
    status: int
    also: Mapping[int, str]
    problems: tuple[str, ...]
    description: str

    @property
    def id(self) -> str:
        """The operationId."""
        return self.carry_out.__name__

    @property
    def is_repeatable(self) -> bool:
        """Idempotency-Key matters for POST alone; the other methods repeat safely by themselves."""
        return self.method == "POST"


def route(
    method: Method,
    path: str,
    scope: Scope,
    *,
    tag: str,
    summary: str,
    response: type[BaseModel] | None,
    query: type[BaseModel] = Nothing,
    body: type[BaseModel] | None = None,
    documented: type[BaseModel] | None = None,
    status: int = 200,
    also: Mapping[int, str] | None = None,
    problems: tuple[str, ...] = (),
) -> Callable[[Callable[[Call], Answer]], Operation]:
    """Make the decorated function an operation; its docstring becomes the description."""

    def make(carry_out: Callable[[Call], Answer]) -> Operation:
        return Operation(
            method=method,
            path=path,
            scope=scope,
            summary=summary,
            tag=tag,
            carry_out=carry_out,
            query=query,
            body=body,
            documented=documented or body,
            response=response,
            status=status,
            also=also or {},
            problems=problems,
            description=" ".join((carry_out.__doc__ or "").split()),
        )

    return make
