"""One pure function for each check: facts -> Finding. They read nothing, so tests give them any facts."""
