"""`romana-bus topology ...`"""
