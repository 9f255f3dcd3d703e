"""Reads what others have set up on a node that may keep pods' packets from our routes: firewalls, ip rules
and their tables, the default routes. `routing/obstacles.py` judges it. Changes nothing.

`read.py` reads all of it; the other modules one kind each. The agent and the CLI may import it.
"""
