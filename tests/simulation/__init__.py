"""
The whole of Punctual in one thread, under a clock and a chance of its own: days in a second.

The use-cases and the provider's adapters are the real ones, the database is a real PostgreSQL whose
clock is ours, the provider is the emulator. A scheduler lets turns crash, pause, overtake each other
and lose answers; a seed repeats it all. `python -m tests.simulation --help` says how to use it.
"""
