"""Parts of bench.dashboard: a database that is years old, pages asked for, plans looked at."""
