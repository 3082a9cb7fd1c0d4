"""Audio: recordings decoded, their level, sample rates, and the log-mel front end."""

SAMPLE_RATE = 16_000
"""Hz; the rate of every encoder and of the shards."""
