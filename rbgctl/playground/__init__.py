"""What `make run` shows: a local control plane with simulated nodes, the operator on it, an example becoming Ready."""
