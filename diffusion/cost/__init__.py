"""What a spec costs: MACs, parameters, memory, latency."""
