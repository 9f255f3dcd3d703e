"""Removes the agent from a node: `survey.py` finds what is there, `steps.py` removes it, `requests.py` tells
the log. Works without the agent and, but for the last, without the log.
"""
