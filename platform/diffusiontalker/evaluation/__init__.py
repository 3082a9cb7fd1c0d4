"""Measuring models on the test splits, beside the floors that nothing can beat."""
