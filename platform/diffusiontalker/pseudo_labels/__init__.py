"""Pseudo-labels: recordings without faces, with faces that a teacher draws for them."""
