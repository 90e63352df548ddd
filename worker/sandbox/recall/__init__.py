"""
A stateful stand-in for Recall.ai: Calendar V2, bots, and the webhooks it sends.

Rebuilt from public pages (docs.recall.ai); whatever those do not settle is a field of `Switches`.
It knows nothing of Punctual: it would serve any client of Recall.
"""
