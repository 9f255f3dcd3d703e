"""Recordings of a real API server, and their player."""
