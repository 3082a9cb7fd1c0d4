"""Data sets: sources, clips, Parquet shards and their manifest, and the procedural corpus."""
