"""The routes to blocks of other hosts: desired, installed, and the delta between them. Pure."""
