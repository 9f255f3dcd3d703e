"""The CNI plugin (spec 1.1.0): the executable that the container runtime calls, and the agent's server for
it.

https://github.com/containernetworking/cni/blob/main/SPEC.md
"""
