"""Alembic migrations; run by `lethe db upgrade` and, in embedded mode, at start."""
