"""`romana-bus events ...`"""
