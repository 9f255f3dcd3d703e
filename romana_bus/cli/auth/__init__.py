"""`romana-bus auth`: identities, their keys, and the server's file with what each may do."""
