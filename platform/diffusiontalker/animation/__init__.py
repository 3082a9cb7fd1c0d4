"""Rigs and files: coefficients to vertices, and to what Unreal, Blender and the web take in."""
