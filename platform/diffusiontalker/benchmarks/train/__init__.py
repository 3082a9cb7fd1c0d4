"""The training loop through Ray Train beside a bare PyTorch loop, and what surrounds its steps."""
