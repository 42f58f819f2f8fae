"""One file a version of a record; a committed file never changes."""
