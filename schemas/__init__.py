"""Avro schemas of every record on the wire and in state, with their ids; data only, see README.md."""
