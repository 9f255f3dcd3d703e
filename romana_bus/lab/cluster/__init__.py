"""The lab: a cluster of network namespaces on one Linux machine.

spec       pure: which zones and nodes there are, their names, addresses and topology
lab      the lab's directory: its record, and the files that people and processes read
netns      network namespaces: in and out of them, what is there, and `ip` in one
fabric     the router, the bridges of the zones, and the links of the nodes
processes  what runs in the background: started, recorded, found again, ended
relay      NATS, offered to the nodes at their gateway
serve      the process with the API server, the scheduler and the relay
silence    nodes whose kubelets are silent are shown as not ready
nats       the process that keeps the embedded NATS server running
commands   what each of these processes is, and how it is started
rising, falling, power   the lab comes up, goes down; one node does; what has ended is started again
running, finding   pods are run and waited for; pods and nodes by the names that people use
placed, routing    what the log says about the lab, and the router's routes, which follow it
looking, tracing, counting   who reaches whom, on which way, and which routes were changed
demonstration   pods in every zone, while the routes that change are counted
"""
