"""What bench.serving and bench.swap are made of: a model, those who serve it, and a load."""
