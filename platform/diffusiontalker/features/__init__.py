"""Frozen audio encoders: loaded from Hugging Face folders, trained small, run as a Ray Data stage."""
