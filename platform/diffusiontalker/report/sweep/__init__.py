"""The page of a sweep: which settings are better than the base, and how sure that is."""
