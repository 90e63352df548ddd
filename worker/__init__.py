"""What we do: one module per use-case, the ports they need, and the adapters behind the ports."""
