"""Where studies are stored: databases, the queue of trials, locks, leases, and the server for other hosts."""
