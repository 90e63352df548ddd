"""
The outside world on loopback: providers that keep state, for trying, developing and testing.

Ships with the product. Imports no use-case, and nothing of ours imports it but the command line.
"""
