"""The student from waveform to face: speed, latency, memory and size, beside HuBERT-base."""
