"""Build a set of records: process every video, then assemble shards, tables and the manifest."""
