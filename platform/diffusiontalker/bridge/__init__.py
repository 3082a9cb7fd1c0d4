"""Live animation for engines: speech in, a UDP packet for every frame out."""
