"""Rigs and animation files: coefficients to vertices, and the formats of Unreal, Blender and the
web."""
