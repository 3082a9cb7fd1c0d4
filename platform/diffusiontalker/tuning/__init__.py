"""A search for settings: Optuna through Ray Tune, over runs of Ray Train."""
