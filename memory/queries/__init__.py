"""Questions to the memory, each answered by the database: what people, models and the search itself ask of it."""
