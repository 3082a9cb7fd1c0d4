"""Audio containers: the kind of a file by its first bytes, and the parts it is joined from."""
