"""A served artifact under load: requests, streams, latencies, a soak."""
