"""Outside systems behind our ports: one folder or file for each."""
