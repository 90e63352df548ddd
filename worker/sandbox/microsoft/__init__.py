"""
A stateful stand-in for Microsoft Graph: calendars, events, delta, change notifications, and their OAuth.

Rebuilt from public pages (learn.microsoft.com/graph), the v1.0 metadata inside msgraph-sdk and reports from
the field; whatever those do not settle is a field of `Switches`. It would serve any client of Graph.
"""
