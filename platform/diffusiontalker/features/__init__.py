"""Frozen audio encoders: loaded from Hugging Face folders, and run as a Ray Data stage."""
