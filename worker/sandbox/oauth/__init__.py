"""
A stateful stand-in for an OAuth 2.0 authorisation server, in the manners of Google or of Microsoft.

What the two do differently is a `Flavour`; what public pages leave open is a field of `Switches`.
It knows no calendars: the emulator beside it asks `grant_of` what an access token allows.
"""
