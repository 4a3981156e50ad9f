"""From a request to a told result: plan, supervisor, agents, trials."""
