"""Byte channels to cards: sessions, logs, expect."""
