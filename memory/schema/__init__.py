"""The SQL of the memory: its tables, views, indexes and triggers, and the migrations that make them."""
