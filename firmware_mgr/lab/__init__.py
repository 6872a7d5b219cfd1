"""The virtual chassis: QEMU cards, their backplane network, power and consoles."""
