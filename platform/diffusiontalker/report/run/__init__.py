"""The page of a run: what was trained, how good it is, and the faces beside the recording."""
