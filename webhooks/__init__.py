"""What reaches us over HTTP: signed notifications and the management API."""
