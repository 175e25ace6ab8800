"""What runs, stores and archives go through in years, in minutes: `make hardship`; `make test` has a part of it."""
