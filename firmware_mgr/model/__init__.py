"""Identifiers, versions, software sets, states and errors. Pure; standard library only."""
