"""Mixtures out of single speakers: `sampling` draws their parameters, `rendering` makes audio from them."""
