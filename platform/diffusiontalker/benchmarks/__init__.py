"""Measurements that people run by hand: scripts, never timed tests."""
