"""What every implementation of a port has to do; the fakes and the adapters run the same suites."""
