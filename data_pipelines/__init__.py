"""Raw files -> records, and what a folder of raw files holds: `python -m data_pipelines COMMAND`."""
