"""Who may say what on the NATS server: roles, their permissions, and a directory's files.

`permissions` is pure, `server_file` renders it for nats-server, `directory` keeps keys and files.
`bus.connect`, `bus.embedded` and commands import it; it imports `bus.stream_config`.
"""
