"""Processes of this machine: started, watched, restarted and stopped together."""
