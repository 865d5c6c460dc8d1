"""The parts of bench.fuzz."""
