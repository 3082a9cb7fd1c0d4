"""Speech-driven 3D facial animation: a diffusion teacher, distilled into a two-step student.

The package follows one sentence: clips flow through Ray Data (``corpus``, ``features``) into a
teacher (``model``, ``diffusion``, ``objectives``), which is halved round by round into a student
(``training``), exported as one small artifact (``runtime``), then measured (``evaluation``),
drawn (``report``) and animated (``animation``).
"""

__version__ = "0.1.0"
