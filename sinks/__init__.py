"""The history process: the only owner of the DuckDB file, and everything that is read from it."""
