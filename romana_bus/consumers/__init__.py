"""Events -> effects. Each consumer is its pure functions and what it reads; the loop does the rest."""
