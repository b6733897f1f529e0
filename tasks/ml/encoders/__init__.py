"""Encoders by name: which there are, how one gets from a hub to a machine without a network."""
