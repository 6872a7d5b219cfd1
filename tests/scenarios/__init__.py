"""Whole-system scenarios: real processes, real machines under QEMU, nothing in between replaced."""
