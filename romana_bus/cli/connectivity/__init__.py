"""`romana-bus connectivity`: tests a cluster's network with probe pods."""
