"""Composition: builds each process out of the rooms below; the only place that knows all of them."""
