"""A real single-node Kafka on this machine, from jars that Maven resolves."""
