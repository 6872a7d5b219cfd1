"""Messages between master and card, and their session: pure; the transport is thin."""
