"""What losses do to a pixel and to a picture: `curves` computes it with autograd, `report` and `chart` show it."""

from segtrain.explain.report import explain

__all__ = ["explain"]
