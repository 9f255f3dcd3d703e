"""Shared by several commands: options, sessions, files, and output."""
