"""The pages of runs, prepared sets and sweeps: one HTML file each, which needs no network."""
