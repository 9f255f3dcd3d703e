"""Access to one Kubernetes API server: its address, our credentials, requests, and the Status of failures.

The watcher (`producers/kubernetes`) and the lab's stand-ins (`lab/kubeclient`) use it; it knows neither.
"""
