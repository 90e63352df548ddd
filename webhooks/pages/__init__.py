"""What a person's browser sees on the way to a connected calendar."""

from webhooks.pages.connecting import page_routes

__all__ = ["page_routes"]
