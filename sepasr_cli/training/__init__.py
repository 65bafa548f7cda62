"""Training: data by step number, one loop for every stage, and states that survive any interruption."""
