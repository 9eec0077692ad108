"""The review desk: a graph that somebody else wrote, and its evals."""
