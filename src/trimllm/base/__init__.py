"""Beneath all rooms: errors, files, precision, progress, constants."""
