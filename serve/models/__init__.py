"""The students that are served, and saved identities."""
