"""The management API: one module per resource, one table of operations, documents made from it."""

from webhooks.api.routing import routes

__all__ = ["routes"]
