"""The state of many live streams, as rows of arrays that are advanced together."""
