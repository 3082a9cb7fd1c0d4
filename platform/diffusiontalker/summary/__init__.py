"""Typed models of what finished work leaves as JSON, read by pages, goals and benchmarks."""
