"""The stand-in scheduler: which node a pod goes to."""
