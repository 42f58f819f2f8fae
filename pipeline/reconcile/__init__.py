"""Counting again with code that shares nothing with the agents, and comparing."""
