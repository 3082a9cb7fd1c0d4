"""What a file of sound is: its kind by its first bytes, and the parts it was joined from."""
