"""The page of a run, its table on the console, and the sentences of both."""
