"""The containers, for real: `make test-compose`, apart from `make test`: it needs an engine."""
