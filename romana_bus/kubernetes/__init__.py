"""One Kubernetes API server as everybody here asks it: its address, our credentials, requests, refusals.

The watcher (`producers/kubernetes`) and the lab's stand-ins (`lab/kubeclient`) use it; it knows neither.
"""
