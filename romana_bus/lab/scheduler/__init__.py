"""The stand-in scheduler: binds pods to nodes."""
