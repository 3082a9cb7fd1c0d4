"""Throughput, stalls and memory of preparing shards and of feeding them to training."""
