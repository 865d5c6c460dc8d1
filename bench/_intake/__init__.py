"""What bench.intake is made of: a load that does not wait, and a service to put it on."""
