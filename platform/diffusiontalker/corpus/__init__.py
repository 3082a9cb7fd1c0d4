"""Where clips come from (so far a procedural corpus) and the Parquet shards they become."""
