"""A pod's link: a veth pair, its addresses, routes and neighbours."""
