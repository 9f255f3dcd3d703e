"""Access to one Kubernetes API server: its address, our credentials, requests, and the Status of failures.

The watcher (`producers/kubernetes`) uses the requests, the lab and the connectivity test also `client.py`.
"""
