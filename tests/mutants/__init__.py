"""
Planted bugs: small mistakes a tired developer could make, each of which the suites must notice.

A suite that no mistake can fail proves nothing. `python -m tests.mutants` plants one mistake at a
time into a copy of the tree, runs the suites that have to notice it, and says which test did.
"""
