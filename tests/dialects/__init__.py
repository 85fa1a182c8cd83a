"""The test suites of other clients, run against the gateway by `make dialects`."""
