"""What losses do to a pixel and to a picture: `curves` computes it with autograd, `report` shows it."""

from segtrain.explain.report import explain

__all__ = ["explain"]
