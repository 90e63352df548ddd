"""Refreshing tokens, proven against an authorisation server that is not ours: node-oidc-provider."""
