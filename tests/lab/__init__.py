"""The virtual chassis and the hands API."""
