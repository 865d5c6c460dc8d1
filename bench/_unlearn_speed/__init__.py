"""The parts of bench.unlearn_speed."""
