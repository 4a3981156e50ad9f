"""What runs in an agent's process: the loop, one trial, and what an agent is sent."""
