"""Parts of bench.capacity."""
