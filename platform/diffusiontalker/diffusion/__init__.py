"""Gaussian diffusion: one continuous schedule, samplers, and the distillation target."""
