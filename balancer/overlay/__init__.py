"""What operators want on top of the configuration: pins, states, weights, added backends. Pure."""
