"""Build sets of records from raw videos, and make caches of latents and texts: `python -m data_pipelines COMMAND`."""
