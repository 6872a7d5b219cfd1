"""Catalogue, plans, operations, and the API."""
