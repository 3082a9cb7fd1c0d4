"""Evaluation on the test splits: metrics, floors, goals, and what streaming costs."""
