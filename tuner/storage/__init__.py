"""A study's records: databases, the ledger of who runs what, locks, leases, and the server between hosts."""
