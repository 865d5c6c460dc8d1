"""The parts of bench.gates."""
