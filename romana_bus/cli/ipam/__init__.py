"""`romana-bus ipam ...`"""
