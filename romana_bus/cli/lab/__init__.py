"""`romana-bus lab ...`"""
