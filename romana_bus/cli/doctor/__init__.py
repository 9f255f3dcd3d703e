"""`romana-bus doctor`: facts are gathered (`gather/`, reads only), and judged (`judge/`, pure). `checks.py`
is the table of all checks: a new one is a row there, and a function that judges."""
