"""A stand-in for the kubelet and its container runtime: a pod is a network namespace.

    node       pure: the Node object and its status
    pods       pure: which pods are to run, and what their status says
    sandboxes  the pods' namespaces, with a record of each on disk, and the calls of CNI
    static     pods from a directory of manifests, and their mirrors in the API
    kubelet    the loops that hold these together

Containers are not run; a pod whose network is there is running and ready.
"""
