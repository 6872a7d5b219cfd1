"""Tests of the packaging room; not called packaging, since that is the name of a library of pytest."""
