"""The models that both papers compare with, and baselines: one file each, on the same shards,
features, splits, training loop and metrics as ours.

Each is a small implementation of what its paper and its authors' released code describe; where an
equation's number could not be checked in the paper itself, the docstring says "our reading". Common
to all, and so another setting than in the papers: the audio encoder is frozen and shared, faces are
52 coefficients that are predicted in standardised units, and a template is the training set's mean
face.
"""
