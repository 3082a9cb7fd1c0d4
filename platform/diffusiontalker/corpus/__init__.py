"""Data sets: sources, clips, and the Parquet shards they become; and a procedural corpus."""
