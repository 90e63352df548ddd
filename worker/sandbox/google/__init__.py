"""
A stateful stand-in for Google: Calendar API v3 with push channels, and Google's OAuth 2.0 beside it.

Rebuilt from public pages and the discovery document; whatever those do not settle is a field of `Switches`.
It knows nothing of Punctual: it would serve any client of Google Calendar.
"""
