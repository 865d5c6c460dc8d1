"""What bench.swap is made of: versions that answer differently, and what is asked of answers."""
