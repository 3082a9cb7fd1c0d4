"""What a run says at its end: one HTML page that opens anywhere, and one table on the console."""
