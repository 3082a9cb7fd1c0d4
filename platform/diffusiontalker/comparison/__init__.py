"""The papers' tables: variants of one run, rivals and seeds, measured alike and written in every
format from one source."""
