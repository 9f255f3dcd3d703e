"""The CNI plugin (spec 1.1.0): the executable that the kubelet's runtime calls, and the server behind it.

https://github.com/containernetworking/cni/blob/main/SPEC.md
"""
