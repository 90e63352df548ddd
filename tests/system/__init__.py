"""Real processes, real sockets, real servers."""
