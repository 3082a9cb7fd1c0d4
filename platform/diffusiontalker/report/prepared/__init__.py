"""The page of a prepared set: whether the data is good, and what to mend."""
