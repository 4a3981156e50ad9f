"""What runs in an agent's process: the loop, one trial, and the order that the agent was sent."""
