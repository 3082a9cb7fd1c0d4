"""When work is done: a fair thread pool, batches, and cancellation."""
