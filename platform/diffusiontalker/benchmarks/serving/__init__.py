"""Load test of a server: requests, streams, latencies, a soak test."""
