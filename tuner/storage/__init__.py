"""A study's records: databases, the queue of trials, locks, leases, and the server between hosts."""
