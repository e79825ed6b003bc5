"""Commands: one module each, whose `run` returns the exit code or None for 0, and what they print."""
