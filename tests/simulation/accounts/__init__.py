"""
Worlds in which users have connected accounts: their calendars are read by us, beside some at Recall.

Google and Microsoft are the fakes of their ports, behind doors at which anything may go wrong: access
tokens end, refresh tokens rotate, consents are taken back, channels die or keep quiet, cursors are
forgotten, pushes get lost. `python -m tests.simulation --worlds accounts` tells their stories.
"""
