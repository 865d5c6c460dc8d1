"""Parts of bench.sequences."""
