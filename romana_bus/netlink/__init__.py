"""Netlink, as far as one-by-one is too slow: messages packed here, sent in batches, dumped and parsed in
bulk. Links and addresses that are looked at once are pyroute2's."""
