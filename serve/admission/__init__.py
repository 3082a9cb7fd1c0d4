"""Admission control: who may send requests, how often, and how many at once."""
