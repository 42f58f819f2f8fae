"""The agents: Faust applications that fold the input log; what a record means is decided in the domain."""
