"""Engines in processes of their own: each answers an export's proof and is timed."""
