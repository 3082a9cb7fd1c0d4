"""Live faces for engines on the same machine: speech in, a packet over UDP for every frame out."""
