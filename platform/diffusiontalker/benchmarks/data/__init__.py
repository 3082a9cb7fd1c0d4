"""Data into shards, and shards into a training step: speed, waiting and memory."""
