"""Ways out for domain events; none of them knows a database."""
