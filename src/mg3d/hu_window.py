"""Which Hounsfield units a model tells apart: the window that its inputs, in [0, 1], span."""

WINDOW_HU = (-1000, 1000)
"""arXiv:2412.05876."""
WIDTH_HU = WINDOW_HU[1] - WINDOW_HU[0]
