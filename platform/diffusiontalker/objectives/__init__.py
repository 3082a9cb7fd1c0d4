"""What is minimised (losses, torch) and what is reported (metrics, numpy): pure functions."""
