"""Sets of records: the schema of one, their shards, which are taken, and the source of their clips."""
