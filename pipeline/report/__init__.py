"""Exact figures for authorised use on the machine that owns the data."""
