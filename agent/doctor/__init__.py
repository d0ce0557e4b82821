"""Whether everything is there for a search, and how reliably a model calls tools."""
