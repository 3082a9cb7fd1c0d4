"""How a face moves to recordings of people whose phones are known."""
