"""Reading several streams as one, and searching them."""
