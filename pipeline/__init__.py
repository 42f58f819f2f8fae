"""Parityflow: recruitment events in, exact counts out; what is not an agent and not a sink."""
