"""A topology document that succeeds another: what keeps, what moves, and what ends; reserved ranges."""
