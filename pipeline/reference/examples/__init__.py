"""Published tables that ``parityflow examples`` expands to events; README.md cites each source."""
