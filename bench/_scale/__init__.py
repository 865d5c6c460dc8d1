"""Parts of bench.scale."""
