"""Calendar providers' event payloads read as typed events; hostile input, no network, no SQL."""
