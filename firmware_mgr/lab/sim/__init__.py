"""The in-process twin of a chassis: virtual time, an in-memory backplane, cards that run the real agent."""
