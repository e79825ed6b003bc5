"""A run directory as one HTML page that needs no server and no network; nothing here imports jax."""
